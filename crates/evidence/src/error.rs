//! What can go wrong with a report.

/// A report that cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("report {visit}: {kind}")]
pub struct EvidenceError {
    /// The visit, or `?` where it is not known.
    pub visit: String,
    /// What went wrong.
    pub kind: EvidenceErrorKind,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceErrorKind {
    /// It is not a report of this version.
    #[error("not an aseptic report: schema must be \"{}\"", crate::report::SCHEMA)]
    Schema,
    /// It does not read as a report.
    #[error("not readable as a report")]
    Json(#[from] serde_json::Error),
    /// The page does not hold exactly one report.
    #[error("the page must hold one embedded report, it holds {0}")]
    Embedded(usize),
}
