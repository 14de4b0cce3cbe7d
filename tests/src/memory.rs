//! A journal and an object store in memory.

use std::sync::{Arc, Mutex};

use aseptic_device::ImageSource;
use aseptic_patches::plan::PatchRef;
use aseptic_patches::{Journal, JournalError, Objects, PlanId, Record};
use async_trait::async_trait;
use sha2::{Digest, Sha256};

/// Entries that survive what the test calls a power cut of the laptop.
#[derive(Debug, Clone, Default)]
pub struct MemoryJournal {
    pub records: Arc<Mutex<Vec<Record>>>,
    /// The append at which the laptop dies; it is not written.
    pub die_at: Option<usize>,
}

impl MemoryJournal {
    pub fn len(&self) -> usize {
        self.records.lock().unwrap().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let mut records = self.records.lock().unwrap();
        if self.die_at == Some(records.len()) {
            return Err(JournalError("the laptop lost power".into()));
        }
        records.push(record.clone());
        Ok(())
    }

    async fn replay(&self, _plan: &PlanId) -> Result<Vec<Record>, JournalError> {
        Ok(self.records.lock().unwrap().clone())
    }

    async fn cancel_requested(&self, _plan: &PlanId) -> Result<bool, JournalError> {
        Ok(false)
    }
}

/// One image.
#[derive(Debug, Clone)]
pub struct OneImage(pub Arc<Vec<u8>>);

impl ImageSource for OneImage {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0.as_slice()).into()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let at = offset as usize;
        buf.copy_from_slice(&self.0[at..at + buf.len()]);
        Ok(())
    }
}

impl Objects for OneImage {
    fn open(&self, _patch: &PatchRef) -> Result<Box<dyn ImageSource>, String> {
        Ok(Box::new(self.clone()))
    }
}
