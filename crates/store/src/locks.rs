//! Kernel locks: one process a device and a port, for the whole run. The kernel frees them when a process dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};

use sha2::{Digest as _, Sha256};

use crate::db::Store;
use crate::error::{During as _, StoreError, StoreErrorKind};

/// A held lock; dropped, it is free.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Store {
    /// Takes the lock of a device id or address; fails at once when another process holds it.
    pub fn hold(&self, name: &str) -> Result<Lock, StoreError> {
        let what = format!("lock {name}");
        let digest: String = Sha256::digest(name.as_bytes()).iter().take(12).map(|b| format!("{b:02x}")).collect();
        let path = self.dir().join("locks").join(digest);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).during(&what)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                return Err(StoreError::new(what, StoreErrorKind::Locked(holder.trim().to_owned())));
            }
            Err(TryLockError::Error(e)) => return Err(StoreError::new(what, e)),
        }
        file.set_len(0).during(&what)?;
        file.rewind().during(&what)?;
        writeln!(file, "process {} for {name}", std::process::id()).during(&what)?;
        Ok(Lock { _file: file })
    }
}
