//! What "hardened" means: rules as data, and findings from what was read. Pure.
//!
//! It never reads a device, a file or a clock; facts and time arrive as arguments.
//! Start with [`rule`], then [`mod@assess`].

pub mod assess;
pub mod finding;
pub mod radio;
pub mod rule;
pub mod waiver;

pub use assess::{Baseline, Facts, assess, built_in};
pub use finding::{Finding, Summary, Verdict};
pub use rule::{Rule, RuleError, Severity};
pub use waiver::Waiver;
