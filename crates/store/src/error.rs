//! What can go wrong with the data directory.

/// A store operation that failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {kind}")]
pub struct StoreError {
    /// What was tried, for people.
    pub what: String,
    /// What went wrong.
    pub kind: StoreErrorKind,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum StoreErrorKind {
    /// The database refused.
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    /// A file could not be read or written.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The key does not open the database, or the file is not one.
    #[error("the key does not open this database")]
    WrongKey,
    /// What is stored is not what was written.
    #[error("tampered: {0}")]
    Tampered(#[from] crate::audit::Tamper),
    /// Another process holds it.
    #[error("held by {0}")]
    Locked(String),
    /// Stored text cannot be read any more.
    #[error("unreadable record: {0}")]
    Unreadable(String),
    /// An order was already used for this device.
    #[error("this work order was already used for this device by plan {0}")]
    OrderUsed(String),
    /// The bytes are not those that were named.
    #[error("content does not match its hash")]
    WrongHash,
}

impl StoreError {
    pub(crate) fn new(what: impl Into<String>, kind: impl Into<StoreErrorKind>) -> Self {
        Self { what: what.into(), kind: kind.into() }
    }
}

/// Adds what was tried to a failure.
pub(crate) trait During<T> {
    fn during(self, what: &str) -> Result<T, StoreError>;
}

impl<T, E: Into<StoreErrorKind>> During<T> for Result<T, E> {
    fn during(self, what: &str) -> Result<T, StoreError> {
        self.map_err(|e| StoreError::new(what, e))
    }
}

impl From<serde_json::Error> for StoreErrorKind {
    fn from(error: serde_json::Error) -> Self {
        Self::Unreadable(error.to_string())
    }
}
