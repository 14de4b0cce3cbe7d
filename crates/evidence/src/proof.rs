//! The tie between a report and the audit log.
//!
//! The digest of a report is the SHA-256 of its RFC 8785 JSON without the field `proof`. Where the log's entry
//! carries it as `body.report-sha256`, the proof covers every line of the report; otherwise only the entry.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{EvidenceError, EvidenceErrorKind};
use crate::report::Report;

/// Proof that one entry is in the audit log. Needs nothing but itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Proof {
    /// The exact text of the entry: one RFC 8785 JSON object, no line end.
    pub entry: String,
    /// C2SP tlog-proof: index, path and checkpoint.
    pub proof: String,
    /// C2SP verifier key of the log.
    pub key: String,
}

impl Proof {
    /// Returns the checkpoint that the proof carries, a C2SP signed note.
    pub fn checkpoint(&self) -> Option<&str> {
        self.proof.split_once("\n\n").map(|(_, note)| note)
    }

    /// Returns the digest of the report that the entry was written for.
    pub fn bound_digest(&self) -> Option<String> {
        let entry: serde_json::Value = serde_json::from_str(&self.entry).ok()?;
        Some(entry.get("body")?.get("report-sha256")?.as_str()?.to_owned())
    }
}

/// How far a report's proof reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The entry carries this report's digest.
    Report,
    /// The entry carries no digest: only what it says itself is proved.
    EntryOnly,
    /// The entry carries the digest of another report: this one was changed.
    OtherReport,
    /// There is no proof.
    None,
}

impl Report {
    /// Returns the digest that the audit log should carry as `body.report-sha256`, in hex.
    pub fn digest(&self) -> Result<String, EvidenceError> {
        let json = |e| self.error(EvidenceErrorKind::Json(e));
        let mut value = serde_json::to_value(self).map_err(json)?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("proof");
        }
        let bytes = serde_json_canonicalizer::to_vec(&value).map_err(json)?;
        Ok(Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect())
    }

    /// Returns how far the proof reaches. Signature and path are not checked here: that is the reader's part.
    pub fn reach(&self) -> Result<Reach, EvidenceError> {
        let Some(proof) = &self.proof else { return Ok(Reach::None) };
        let Some(bound) = proof.bound_digest() else { return Ok(Reach::EntryOnly) };
        Ok(if bound == self.digest()? { Reach::Report } else { Reach::OtherReport })
    }
}
