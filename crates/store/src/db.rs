//! The database: encrypted, append-only where it must be, safe against power loss.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::{CryptoRng, RngCore};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::audit;
use crate::error::{During as _, StoreError, StoreErrorKind};
use crate::objects::ObjectStore;

const MIGRATIONS: &[&str] = &[include_str!("../schema/0001_first.sql")];
const BUSY: Duration = Duration::from_secs(10);

/// The data directory. Clones share one connection; processes share the files.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the data directory and makes what is missing. `random` gives the database key and the log key at first use.
    pub fn open(dir: &Path, random: &mut (impl RngCore + CryptoRng)) -> Result<Self, StoreError> {
        make_private_dir(dir).during("open the data directory")?;
        for part in ["objects", "locks"] {
            make_private_dir(&dir.join(part)).during("open the data directory")?;
        }
        let key = database_key(&dir.join("key"), random).during("read the database key")?;
        let connection = connect(&dir.join("db"), &key)?;
        let store = Self { dir: dir.to_owned(), connection: Arc::new(Mutex::new(connection)) };
        store.write("set up the database", |tx| audit::ensure_log_key(tx, random))?;
        Ok(store)
    }

    /// Returns the data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the object store.
    pub fn objects(&self) -> ObjectStore {
        ObjectStore::new(self.dir.join("objects"))
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one writing transaction; it is on disk when this returns.
    pub(crate) fn write<T>(
        &self,
        what: &str,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate).during(what)?;
        let value = body(&tx).during(what)?;
        tx.commit().during(what)?;
        Ok(value)
    }

    /// Runs one reading transaction.
    pub(crate) fn read<T>(
        &self,
        what: &str,
        body: impl FnOnce(&Transaction<'_>) -> Result<T, StoreErrorKind>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        let tx = connection.transaction().during(what)?;
        body(&tx).during(what)
    }
}

fn make_private_dir(dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

// 32 random bytes in hex, readable by the owner only. It protects a database copied without it, and nothing else.
fn database_key(path: &Path, random: &mut impl RngCore) -> std::io::Result<String> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    if !path.exists() {
        let mut key = [0; 32];
        random.fill_bytes(&mut key);
        let text: String = key.iter().map(|b| format!("{b:02x}")).collect();
        let mut file = options.open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // A hard link never replaces: of two first starts at once, one key wins.
        let linked = fs::hard_link(&temporary, path);
        fs::remove_file(&temporary)?;
        match linked {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => return Err(e),
            _ => sync_parent(path)?,
        }
    }
    let mut text = String::new();
    File::open(path)?.take(65).read_to_string(&mut text)?;
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "the key file is damaged"));
    }
    Ok(text)
}

/// Makes a new name in a folder survive power loss.
pub(crate) fn sync_parent(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    if let Some(parent) = path.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn connect(path: &Path, key: &str) -> Result<Connection, StoreError> {
    let what = "open the database";
    let mut connection = Connection::open(path).during(what)?;
    connection.busy_timeout(BUSY).during(what)?;
    // The log level first: the key must not reach a log.
    connection.execute_batch("PRAGMA cipher_log_level = NONE;").during(what)?;
    connection.execute_batch(&format!("PRAGMA key = \"x'{key}'\";")).during(what)?;
    let readable = connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get::<_, i64>(0));
    if let Err(rusqlite::Error::SqliteFailure(e, _)) = &readable
        && e.code == rusqlite::ErrorCode::NotADatabase
    {
        return Err(StoreError::new(what, StoreErrorKind::WrongKey));
    }
    readable.during(what)?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA foreign_keys = ON;",
        )
        .during(what)?;
    migrate(&mut connection).during("bring the database up to date")?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), StoreErrorKind> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done: u32 = tx.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(done).unwrap_or(usize::MAX);
    if done > MIGRATIONS.len() {
        return Err(StoreErrorKind::Unreadable("the database was written by a newer Aseptic".into()));
    }
    for (version, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        tx.execute_batch(sql)?;
        tx.execute_batch(&format!("PRAGMA user_version = {};", version + 1))?;
    }
    tx.commit()?;
    Ok(())
}
