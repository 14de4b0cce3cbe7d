//! Kits: TUF repositories that carry patches from vendors and profiles from the hospital, with no network.
//!
//! Source: the TUF specification 1.0. The layout and the delegation rules are in `docs/kit-format.md`.
//! [`import`] is the only way in; [`author`] makes kits; [`client`] is a plain TUF client for any repository.

pub mod author;
pub mod client;
mod import;
mod manifest;
mod source;

pub use import::{Freshness, Imported, Ladder, ObjectSink, RoleExpiry, TrustState, import};
pub use manifest::{PATCH_SCHEMA, PatchImage, PatchManifest};
pub use source::Source;

/// A kit that cannot be taken. Nothing of it was kept.
#[derive(Debug, thiserror::Error)]
pub enum KitError {
    /// Its metadata does not chain from the pinned root.
    #[error("kit is not to be trusted: {0}")]
    Untrusted(String),
    /// Its metadata expired too long ago, or needs a named approver.
    #[error("{role} expired at {expires}; {rule}")]
    Expired {
        /// The role.
        role: String,
        /// When it expired.
        expires: jiff::Timestamp,
        /// What would be needed.
        rule: String,
    },
    /// Its content breaks the rules; every problem found.
    #[error("kit content is refused: {}", .0.join("; "))]
    Content(Vec<String>),
    /// It cannot be read.
    #[error("kit cannot be read: {0}")]
    Io(#[from] std::io::Error),
    /// It cannot be made so.
    #[error("{0}")]
    Authoring(String),
}

impl From<sigstore_tuf::Error> for KitError {
    fn from(error: sigstore_tuf::Error) -> Self {
        Self::Untrusted(error.to_string())
    }
}
