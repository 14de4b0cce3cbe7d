//! Who may do what: work orders, the keys that sign them, and [`Authority`], the value without which nothing changes.
//!
//! It never asks a person, reads a file or looks at a clock; those arrive as arguments.
//! Start with [`authority`], then [`order`].

pub mod attestation;
pub mod authority;
pub mod dsse;
pub mod order;

pub use attestation::{Attestation, GateId, Person, Role};
pub use authority::{Authority, AuthorityError, AuthoritySource, Scope};
pub use dsse::{Envelope, EnvelopeError, SignerKey};
pub use order::{Order, OrderDevice, OrderedSetting, SignedOrder, Window};
