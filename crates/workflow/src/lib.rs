//! The straight path: one public function a stage, each taking the previous value and returning the next.
//!
//! It never links a radio or serial library and never prints; buses, clock and people arrive as arguments.
//! Start with [`laptop`], then read the stages in order: discover, identify, assess, plan, apply, report.

pub mod apply;
pub mod assess;
pub mod discover;
pub mod enrol;
pub mod identify;
pub mod kits;
pub mod laptop;
pub mod locate;
pub mod plan;
pub mod problem;
pub mod report;
pub mod returning;
pub mod scan;

pub use apply::{Applied, Orders, apply, resume, revert};
pub use assess::{Assessment, assess};
pub use discover::{Sighted, discover};
pub use identify::{Visit, identify};
pub use kits::KitRecord;
pub use laptop::{KnownProfile, Laptop, Purpose};
pub use locate::DeviceRef;
pub use plan::{Wanted, plan};
pub use problem::{Code, DeviceState, Problem};
pub use report::report;
