//! The audit log: a Merkle tree over everything that happened, with C2SP checkpoints and proofs.
//!
//! An entry is one RFC 8785 JSON object; its bytes are the leaf (RFC 6962: SHA-256 over `00` and the bytes).
//! A checkpoint (`c2sp.org/tlog-checkpoint`) is a signed note (`c2sp.org/signed-note`, ed25519) over origin,
//! size and root; a proof (`c2sp.org/tlog-proof`) is a text file with index, inclusion path and checkpoint.
//! A checkpoint kept elsewhere shows a cut tail; the folder's `checkpoints.txt` keeps each one too.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rand::{CryptoRng, RngCore};
use rusqlite::{OptionalExtension as _, Transaction, params};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use signed_note::{Note, StandardSigner, StandardVerifier, VerifierList};
use tlog_tiles::{Checkpoint, Error as TreeError, Hash, HashReader};

use crate::db::Store;
use crate::error::{During as _, StoreError, StoreErrorKind};

const LOG_KEY: &str = "log-key";
const LOG_VERIFIER: &str = "log-verifier";
/// First line of a proof.
pub const PROOF_HEADER: &str = "c2sp.org/tlog-proof@v1";
const FILE: &str = "checkpoints.txt";

/// What is to be written down.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEntry {
    /// When.
    pub at: Timestamp,
    /// What kind of thing happened, such as `plan.installed`.
    pub kind: String,
    /// On whose authority.
    pub actor: String,
    /// The device, if it is about one.
    pub device: Option<String>,
    /// The visit, if it belongs to one.
    pub visit: Option<String>,
    /// What happened. No secrets, no patient data.
    pub body: serde_json::Value,
}

/// What was written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Entry {
    /// Position in the log, from 0.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// What kind of thing happened.
    pub kind: String,
    /// On whose authority.
    pub actor: String,
    /// The device, if it is about one.
    pub device: Option<String>,
    /// The visit, if it belongs to one.
    pub visit: Option<String>,
    /// What happened.
    pub body: serde_json::Value,
}

/// Size and root of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Number of entries.
    pub size: u64,
    /// Root hash, Base64.
    pub root: String,
    /// Checkpoints that agree with it.
    pub checkpoints: usize,
}

/// A log that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Tamper {
    /// Entries are missing at the end.
    #[error("{missing} entries are missing at the end: a checkpoint was signed over {signed}, {found} are there")]
    Truncated {
        /// Entries that a checkpoint covers.
        signed: u64,
        /// Entries that are there.
        found: u64,
        /// The difference.
        missing: u64,
    },
    /// An entry is missing or out of order.
    #[error("entry {0} is missing or out of order")]
    Gap(u64),
    /// An entry was changed.
    #[error("entry {0} was changed")]
    Changed(u64),
    /// A checkpoint covers another history.
    #[error("the first {0} entries are not the ones that a checkpoint was signed over")]
    OtherHistory(u64),
    /// A checkpoint's signature is wrong.
    #[error("a checkpoint is not signed by this log's key")]
    BadCheckpoint,
    /// A journal record is not the one that the log describes.
    #[error("journal record {0} was changed or removed")]
    Journal(i64),
    /// A proof does not prove what it should.
    #[error("the proof does not hold: {0}")]
    Proof(String),
}

struct Stored<'a>(&'a Transaction<'a>);

impl HashReader for Stored<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, TreeError> {
        let fail = |e: rusqlite::Error| TreeError::InvalidInput(e.to_string());
        let mut statement = self.0.prepare_cached("SELECT hash FROM audit_hash WHERE idx = ?1").map_err(fail)?;
        indexes
            .iter()
            .map(|i| statement.query_row([signed(*i)], |row| row.get::<_, [u8; 32]>(0)).map(Hash).map_err(fail))
            .collect()
    }
}

struct Recomputed(Vec<Hash>);

impl HashReader for Recomputed {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, TreeError> {
        let at = |i: &u64| usize::try_from(*i).ok().and_then(|i| self.0.get(i)).copied();
        indexes.iter().map(|i| at(i).ok_or(TreeError::IndexesNotInTree)).collect()
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn tree(error: &TreeError) -> StoreErrorKind {
    StoreErrorKind::Unreadable(error.to_string())
}

fn size(tx: &Transaction<'_>) -> Result<u64, StoreErrorKind> {
    let count: i64 = tx.query_row("SELECT count(*) FROM audit", [], |row| row.get(0))?;
    Ok(count.unsigned_abs())
}

/// Adds an entry in the caller's transaction, so that both are on disk or neither.
pub(crate) fn append(tx: &Transaction<'_>, new: NewEntry) -> Result<u64, StoreErrorKind> {
    let seq = size(tx)?;
    let NewEntry { at, kind, actor, device, visit, body } = new;
    let entry = Entry { seq, at, kind, actor, device, visit, body };
    let leaf = serde_json_canonicalizer::to_vec(&entry)?;
    let hashes = tlog_tiles::stored_hashes(seq, &leaf, &Stored(tx)).map_err(|e| tree(&e))?;
    let first = tlog_tiles::stored_hash_count(seq);
    for (index, hash) in (first..).zip(hashes) {
        tx.execute("INSERT INTO audit_hash (idx, hash) VALUES (?1, ?2)", params![signed(index), hash.0])?;
    }
    tx.execute("INSERT INTO audit (seq, entry) VALUES (?1, ?2)", params![signed(seq), leaf])?;
    Ok(seq)
}

/// Makes the log's signing key at first use.
pub(crate) fn ensure_log_key(
    tx: &Transaction<'_>,
    random: &mut (impl RngCore + CryptoRng),
) -> Result<(), StoreErrorKind> {
    let known: Option<Vec<u8>> =
        tx.query_row("SELECT bytes FROM blob WHERE name = ?1", [LOG_KEY], |row| row.get(0)).optional()?;
    if known.is_some() {
        return Ok(());
    }
    let mut name = [0; 4];
    random.fill_bytes(&mut name);
    let origin = format!("aseptic.local/{}", name.map(|b| format!("{b:02x}")).concat());
    let (signer, verifier) = signed_note::generate_key(random, &origin);
    let insert = "INSERT INTO blob (name, bytes) VALUES (?1, ?2)";
    tx.execute(insert, params![LOG_KEY, signer.into_bytes()])?;
    tx.execute(insert, params![LOG_VERIFIER, verifier.into_bytes()])?;
    Ok(())
}

fn key(tx: &Transaction<'_>, name: &str) -> Result<String, StoreErrorKind> {
    let bytes: Vec<u8> = tx.query_row("SELECT bytes FROM blob WHERE name = ?1", [name], |row| row.get(0))?;
    String::from_utf8(bytes).map_err(|e| StoreErrorKind::Unreadable(e.to_string()))
}

fn unreadable(error: impl std::fmt::Display) -> StoreErrorKind {
    StoreErrorKind::Unreadable(error.to_string())
}

// Returns the checkpoint that a note carries, when the key signed it.
fn open_note(note: &str, verifier: &str) -> Result<Checkpoint, Tamper> {
    let list = StandardVerifier::new(verifier)
        .map(|v| VerifierList::new(vec![Box::new(v)]))
        .map_err(|_| Tamper::BadCheckpoint)?;
    let note = Note::from_bytes(note.as_bytes()).map_err(|_| Tamper::BadCheckpoint)?;
    note.verify(&list).map_err(|_| Tamper::BadCheckpoint)?;
    Checkpoint::from_bytes(note.text()).map_err(|_| Tamper::BadCheckpoint)
}

impl Store {
    /// Writes one entry.
    pub fn audit(&self, entry: NewEntry) -> Result<u64, StoreError> {
        self.write("write the audit log", |tx| append(tx, entry))
    }

    /// Returns entries from `first` on, oldest first.
    pub fn audit_entries(&self, first: u64) -> Result<Vec<Entry>, StoreError> {
        self.read("read the audit log", |tx| {
            let mut statement = tx.prepare("SELECT entry FROM audit WHERE seq >= ?1 ORDER BY seq")?;
            let rows = statement.query_map([signed(first)], |row| row.get::<_, Vec<u8>>(0))?;
            rows.map(|bytes| Ok(serde_json::from_slice(&bytes?)?)).collect()
        })
    }

    /// Returns the exact bytes of an entry, the leaf of its proof.
    pub fn audit_leaf(&self, seq: u64) -> Result<Vec<u8>, StoreError> {
        self.read("read the audit log", |tx| {
            Ok(tx.query_row("SELECT entry FROM audit WHERE seq = ?1", [signed(seq)], |row| row.get(0))?)
        })
    }

    /// Returns the log's public key as a C2SP verifier key.
    pub fn audit_key(&self) -> Result<String, StoreError> {
        self.read("read the log key", |tx| key(tx, LOG_VERIFIER))
    }

    /// Signs the log as it is now and keeps the checkpoint in the database and in `checkpoints.txt`.
    pub fn checkpoint(&self) -> Result<String, StoreError> {
        let what = "sign a checkpoint";
        let note = self.write(what, |tx| {
            let size = size(tx)?;
            let root = tlog_tiles::tree_hash(size, &Stored(tx)).map_err(|e| tree(&e))?;
            let signer = StandardSigner::new(&key(tx, LOG_KEY)?).map_err(unreadable)?;
            let origin = signed_note::Signer::name(&signer).to_owned();
            let text = Checkpoint::new(&origin, size, root, "").map_err(unreadable)?.to_bytes();
            let mut note = Note::new(&text, &[]).map_err(unreadable)?;
            note.add_sigs(&[&signer]).map_err(unreadable)?;
            let note = String::from_utf8(note.to_bytes()).map_err(unreadable)?;
            tx.execute("INSERT INTO checkpoint (size, note) VALUES (?1, ?2)", params![signed(size), note])?;
            Ok(note)
        })?;
        let mut file = OpenOptions::new().create(true).append(true).open(self.dir().join(FILE)).during(what)?;
        file.write_all(format!("{note}\x1e\n").as_bytes()).during(what)?;
        file.sync_all().during(what)?;
        Ok(note)
    }

    /// Returns a proof that an entry is in the log, self-contained, under a fresh checkpoint.
    pub fn proof(&self, seq: u64) -> Result<String, StoreError> {
        let note = self.checkpoint()?;
        let verifier = self.audit_key()?;
        let checkpoint = open_note(&note, &verifier).during("prove an entry")?;
        self.read("prove an entry", |tx| {
            let path = tlog_tiles::prove_record(checkpoint.size(), seq, &Stored(tx)).map_err(|e| tree(&e))?;
            let lines: String = path.iter().map(|h| format!("{}\n", STANDARD.encode(h.0))).collect();
            Ok(format!("{PROOF_HEADER}\nindex {seq}\n{lines}\n{note}"))
        })
    }

    /// Recomputes the whole log and holds it against its stored hashes, the journal and every checkpoint,
    /// the ones in `elsewhere` too.
    pub fn audit_verify(&self, elsewhere: &[String]) -> Result<Head, StoreError> {
        let what = "verify the audit log";
        let file = fs::read_to_string(self.dir().join(FILE)).unwrap_or_default();
        self.read(what, |tx| {
            let tree = recompute(tx)?;
            let found = size(tx)?;
            check_journal(tx)?;
            let verifier = key(tx, LOG_VERIFIER)?;
            let mut statement = tx.prepare("SELECT note FROM checkpoint")?;
            let mut notes: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
            notes.extend(file.split("\x1e\n").filter(|n| !n.trim().is_empty()).map(str::to_owned));
            notes.extend_from_slice(elsewhere);
            for note in &notes {
                let checkpoint = open_note(note, &verifier)?;
                let signed = checkpoint.size();
                if signed > found {
                    return Err(Tamper::Truncated { signed, found, missing: signed - found }.into());
                }
                let root = tlog_tiles::tree_hash(signed, &tree).map_err(|e| self::tree(&e))?;
                if &root != checkpoint.hash() {
                    return Err(Tamper::OtherHistory(signed).into());
                }
            }
            let root = tlog_tiles::tree_hash(found, &tree).map_err(|e| self::tree(&e))?;
            Ok(Head { size: found, root: STANDARD.encode(root.0), checkpoints: notes.len() })
        })
    }
}

fn recompute(tx: &Transaction<'_>) -> Result<Recomputed, StoreErrorKind> {
    let mut tree = Recomputed(Vec::new());
    let mut entries = tx.prepare("SELECT seq, entry FROM audit ORDER BY seq")?;
    let rows = entries.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    for (expected, row) in (0u64..).zip(rows) {
        let (seq, leaf) = row?;
        if seq != signed(expected) {
            return Err(Tamper::Gap(expected).into());
        }
        let entry: Entry = serde_json::from_slice(&leaf).map_err(|_| Tamper::Changed(expected))?;
        if entry.seq != expected {
            return Err(Tamper::Gap(expected).into());
        }
        let hashes = tlog_tiles::stored_hashes(expected, &leaf, &tree).map_err(|e| self::tree(&e))?;
        let first = tlog_tiles::stored_hash_count(expected);
        let indexes: Vec<u64> = (first..).take(hashes.len()).collect();
        if Stored(tx).read_hashes(&indexes).ok() != Some(hashes.clone()) {
            return Err(Tamper::Changed(expected).into());
        }
        tree.0.extend(hashes);
    }
    Ok(tree)
}

// Each journal record has an entry with its digest; both were written together.
fn check_journal(tx: &Transaction<'_>) -> Result<(), StoreErrorKind> {
    let mut entries = tx.prepare("SELECT entry FROM audit ORDER BY seq")?;
    let rows = entries.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    let mut known = 0;
    for row in rows {
        let entry: Entry = serde_json::from_slice(&row?)?;
        let Some(journal) = entry.body.get("journal").and_then(serde_json::Value::as_i64) else { continue };
        known += 1;
        let record: Option<String> =
            tx.query_row("SELECT record FROM journal WHERE seq = ?1", [journal], |row| row.get(0)).optional()?;
        let digest = record.as_deref().map(digest);
        if digest.as_deref() != entry.body.get("record-sha256").and_then(serde_json::Value::as_str) {
            return Err(Tamper::Journal(journal).into());
        }
    }
    let count: i64 = tx.query_row("SELECT count(*) FROM journal", [], |row| row.get(0))?;
    if count == known { Ok(()) } else { Err(Tamper::Journal(count).into()) }
}

/// Returns the SHA-256 of a text, in hex.
pub(crate) fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|b| format!("{b:02x}")).collect()
}

/// Checks a proof against the bytes of an entry and a log's verifier key; returns the entry's index and the log's size.
pub fn verify_proof(proof: &str, leaf: &[u8], verifier: &str) -> Result<(u64, u64), Tamper> {
    let fail = |why: &str| Tamper::Proof(why.to_owned());
    let (head, note) = proof.split_once("\n\n").ok_or_else(|| fail("no checkpoint"))?;
    let mut lines = head.lines();
    if lines.next() != Some(PROOF_HEADER) {
        return Err(fail("not a tlog-proof"));
    }
    let mut line = lines.next();
    if line.is_some_and(|l| l.starts_with("extra ")) {
        line = lines.next();
    }
    let index =
        line.and_then(|l| l.strip_prefix("index ")).and_then(|n| n.parse().ok()).ok_or_else(|| fail("no index"))?;
    let path: Option<Vec<Hash>> =
        lines.map(|l| STANDARD.decode(l).ok().and_then(|b| <[u8; 32]>::try_from(b).ok()).map(Hash)).collect();
    let path = path.filter(|p| p.len() <= 63).ok_or_else(|| fail("a damaged path"))?;
    let checkpoint = open_note(note, verifier)?;
    let hash = tlog_tiles::record_hash(leaf);
    tlog_tiles::check_record(&path, checkpoint.size(), *checkpoint.hash(), index, hash)
        .map_err(|_| fail("the entry is not the one at this index"))?;
    Ok((index, checkpoint.size()))
}
