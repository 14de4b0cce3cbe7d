//! The command line: a contract. Verbs are frozen; adding is allowed.

use std::path::PathBuf;
use std::time::Duration;

use aseptic_workflow::DeviceRef;
use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::Timestamp;

/// Finds, checks, fixes, patches and proves medical devices, with no network.
#[derive(Debug, Parser)]
#[command(name = "aseptic", version, max_term_width = 100)]
pub struct Cli {
    /// Folder with database, objects and locks
    #[arg(long, global = true, env = "ASEPTIC_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// One JSON object a line on standard output, nothing else
    #[arg(long, global = true)]
    pub json: bool,
    /// Work on the simulated ward served in this folder, and on nothing else
    #[arg(long, global = true, env = "ASEPTIC_SIM", value_name = "DIR")]
    pub sim: Option<PathBuf>,
    /// Name a serial port that may be opened (again for more)
    #[arg(long, global = true, value_name = "PATH")]
    pub port: Vec<PathBuf>,
    /// Read named ports by this profile: a file (records are then marked unreviewed) or the id of a known one
    #[arg(long, global = true, value_name = "FILE|ID")]
    pub profile: Option<PathBuf>,
    /// What to do
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Pin the hospital's root and the keys that may sign work orders
    Enrol(Enrol),
    /// Show what is in reach; nothing is opened
    Discover {
        /// How long to look, such as 5s
        #[arg(long = "for", default_value = "3s", value_parser = span)]
        span: Duration,
    },
    /// Read who a device is and open a visit
    Identify {
        /// The device
        #[arg(value_parser = device)]
        device: DeviceRef,
        /// A scanned label, held against the device
        #[arg(long, value_name = "CODE")]
        scan: Option<String>,
    },
    /// Hold a device against a baseline; nothing is changed
    Assess {
        /// The device
        #[arg(value_parser = device)]
        device: DeviceRef,
        /// Baseline id
        #[arg(long, value_name = "ID")]
        baseline: Option<String>,
    },
    /// List, show or close visits
    #[command(subcommand)]
    Visit(Visit),
    /// Plan a patch or fixes, step by step; nothing is changed
    Plan(Plan),
    /// Carry a plan out
    Apply(Apply),
    /// Stop a plan at the next safe point; the device goes back
    Cancel {
        /// Plan id (or its beginning) or file
        plan: String,
    },
    /// Carry on what was interrupted; without a plan, list it
    Resume {
        /// Plan id (or its beginning) or file
        plan: Option<String>,
        /// Everything that was interrupted
        #[arg(long, conflicts_with = "plan")]
        all: bool,
        /// Authority and attestations
        #[command(flatten)]
        authority: AuthorityArgs,
    },
    /// Take a device back to what it ran before
    Revert {
        /// The device
        #[arg(value_parser = device)]
        device: DeviceRef,
        /// Authority and attestations
        #[command(flatten)]
        authority: AuthorityArgs,
    },
    /// Return a device to service, by a second person at a terminal
    Return {
        /// The device
        #[arg(value_parser = device)]
        device: DeviceRef,
    },
    /// Show what this laptop knows: kit, devices out of service, what was interrupted
    Status,
    /// Check this laptop: data directory, clock, ports, records
    Doctor,
    /// Write the report of a visit, with its proof
    Report {
        /// Visit id or its beginning; a device names its newest visit
        visit: String,
        /// Format
        #[arg(long, value_enum, default_value_t = Format::Json)]
        format: Format,
        /// Write to this file instead of standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// The audit log
    #[command(subcommand)]
    Audit(Audit),
    /// Kits: make, sign, pack, import
    #[command(subcommand)]
    Kit(Kit),
    /// Work orders: sign and check
    #[command(subcommand)]
    Order(Order),
    /// Profiles of models
    #[command(subcommand)]
    Profile(Profile),
    /// Write down a whole conversation with a device
    Record {
        /// The device
        #[arg(value_parser = device)]
        device: DeviceRef,
        /// File to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// The simulated ward
    #[command(subcommand)]
    Sim(Sim),
    /// A plain TUF client: the contract of the public conformance suite
    Tuf(Tuf),
    /// Print a JSON Schema: event, order, plan, patch, profile or report
    Schema {
        /// Which
        kind: String,
    },
}

/// Pin the hospital's root.
#[derive(Debug, Args)]
pub struct Enrol {
    /// The hospital's root metadata
    #[arg(long, value_name = "FILE")]
    pub root: PathBuf,
    /// A key that may sign work orders: NAME=PEM-FILE or NAME=64-HEX-DIGITS
    #[arg(long, value_name = "NAME=PUBKEY")]
    pub signer: Vec<String>,
}

/// List, show or close visits.
#[derive(Debug, Subcommand)]
pub enum Visit {
    /// All visits, newest first
    List,
    /// One visit
    Show {
        /// Visit id, or its beginning
        visit: String,
    },
    /// Close a visit
    Close {
        /// Visit id, or its beginning
        visit: String,
    },
}

/// Plan a patch or fixes.
#[derive(Debug, Args)]
pub struct Plan {
    /// The device
    #[arg(value_parser = device)]
    pub device: DeviceRef,
    /// Patch to install
    #[arg(long, value_name = "ID")]
    pub patch: Option<String>,
    /// Rule whose fix is to be made (again for more)
    #[arg(long, value_name = "RULE")]
    pub fix: Vec<String>,
    /// Write the plan to this file
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// Carry a plan out.
#[derive(Debug, Args)]
pub struct Apply {
    /// Plan id (or its beginning) or file
    pub plan: String,
    /// Authority and attestations
    #[command(flatten)]
    pub authority: AuthorityArgs,
}

/// On whose authority.
#[derive(Debug, Args)]
pub struct AuthorityArgs {
    /// A signed work order; without it, a person at this terminal is asked
    #[arg(long, value_name = "FILE")]
    pub order: Option<PathBuf>,
    /// What people vouch for: a JSON list of attestations
    #[arg(long, value_name = "FILE")]
    pub attestations: Option<PathBuf>,
}

/// Report formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Data
    Json,
    /// A page to read and print
    Html,
}

/// The audit log.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Show entries
    Show {
        /// First entry
        #[arg(long, default_value_t = 0)]
        from: u64,
    },
    /// Recompute the whole log and hold it against every checkpoint
    Verify {
        /// A checkpoint that was kept elsewhere (again for more)
        #[arg(long, value_name = "FILE")]
        checkpoint: Vec<PathBuf>,
    },
    /// Sign the log as it is now
    Checkpoint,
    /// Check a proof from files, with nothing of this laptop but the program
    Check {
        /// Beginning of the files that `audit proof -o` wrote
        prefix: PathBuf,
        /// The log's verifier key as the hospital published it; without it, the one beside the proof
        #[arg(long, value_name = "VKEY")]
        key: Option<String>,
    },
    /// Prove that an entry is in the log
    Proof {
        /// Entry
        entry: u64,
        /// Write entry, proof and key to files with this beginning
        #[arg(short, long, value_name = "PREFIX")]
        output: Option<PathBuf>,
    },
}

/// Kits.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "arguments are parsed once")]
pub enum Kit {
    /// Start a kit in a working folder
    New {
        /// Working folder
        dir: PathBuf,
        /// A key for the top roles (PKCS#8, PEM; again for more); without any, keys are generated in DIR/keys
        #[arg(long, value_name = "FILE")]
        key: Vec<PathBuf>,
        /// Signatures needed of each top role
        #[arg(long, default_value_t = 1)]
        threshold: usize,
        /// Days until root and targets expire
        #[arg(long, default_value_t = 365)]
        days: i64,
    },
    /// Generate an ed25519 key pair; the public half is written beside it as .pub.pem
    Key {
        /// File for the private key
        file: PathBuf,
    },
    /// Delegate patches to a vendor's keys
    Delegate {
        /// Working folder
        dir: PathBuf,
        /// Vendor id
        vendor: String,
        /// The vendor's public key (PEM; again for more)
        #[arg(long, required = true, value_name = "FILE")]
        key: Vec<PathBuf>,
        /// Signatures needed
        #[arg(long, default_value_t = 1)]
        threshold: usize,
        /// Days until the vendor's role expires
        #[arg(long, default_value_t = 90)]
        days: i64,
    },
    /// Add a patch of a vendor, or a profile or baseline of the hospital
    Add(KitAdd),
    /// Take a patch out again; laptops that take the next kit no longer have it
    Withdraw {
        /// Working folder
        dir: PathBuf,
        /// Vendor id
        #[arg(long)]
        vendor: String,
        /// Patch id
        #[arg(long)]
        id: String,
    },
    /// Sign a role: root, targets, snapshot, timestamp or vendor-ID
    Sign {
        /// Working folder
        dir: PathBuf,
        /// Role
        role: String,
        /// Private key (PKCS#8, PEM)
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Replace the root keys; old and new keys must then sign root
    Rotate {
        /// Working folder
        dir: PathBuf,
        /// New root key (again for more)
        #[arg(long, required = true, value_name = "FILE")]
        key: Vec<PathBuf>,
        /// Signatures needed
        #[arg(long, default_value_t = 1)]
        threshold: usize,
        /// Days until the root expires
        #[arg(long, default_value_t = 365)]
        days: i64,
    },
    /// Write snapshot and timestamp and pack a ZIP (or, without .zip, a folder)
    Pack {
        /// Working folder
        dir: PathBuf,
        /// File or folder to write
        #[arg(short, long, value_name = "OUT")]
        output: PathBuf,
        /// Days until the kit is stale
        #[arg(long, default_value_t = 14)]
        days: i64,
    },
    /// Verify a kit and keep it
    Import {
        /// ZIP file or folder
        kit: PathBuf,
        /// Accept a kit that expired within the ladder, in this person's name
        #[arg(long, value_name = "NAME")]
        accept_stale: Option<String>,
    },
    /// Show what was imported
    List,
    /// Verify a kit against a root and keep nothing
    Verify {
        /// ZIP file or folder
        kit: PathBuf,
        /// Root to verify from; without it, the enrolled one
        #[arg(long, value_name = "FILE")]
        root: Option<PathBuf>,
    },
}

/// Add to a kit.
#[derive(Debug, Args)]
pub struct KitAdd {
    /// Working folder
    pub dir: PathBuf,
    /// A profile of the hospital
    #[arg(long, value_name = "FILE", conflicts_with_all = ["vendor", "hospital_baseline"])]
    pub hospital_profile: Option<PathBuf>,
    /// A baseline of the hospital
    #[arg(long, value_name = "FILE", conflicts_with = "vendor")]
    pub hospital_baseline: Option<PathBuf>,
    /// Vendor id
    #[arg(long, requires_all = ["image", "id", "for_profile"])]
    pub vendor: Option<String>,
    /// MCUboot image, signed by the maker
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Patch id
    #[arg(long)]
    pub id: Option<String>,
    /// Profile that the patch is for (again for more)
    #[arg(long, value_name = "ID")]
    pub for_profile: Vec<String>,
    /// Version; without it, the image's own
    #[arg(long = "to-version", value_name = "VERSION")]
    pub to_version: Option<String>,
    /// One line for people
    #[arg(long, default_value = "")]
    pub title: String,
    /// What it changes
    #[arg(long, default_value = "")]
    pub notes: String,
    /// Hardware revision that it is for (again for more; none for any)
    #[arg(long)]
    pub hardware: Vec<String>,
    /// Version that it may be installed over (again for more; none for any older)
    #[arg(long)]
    pub from: Vec<String>,
    /// Advisory that it closes (again for more)
    #[arg(long)]
    pub advisory: Vec<String>,
    /// It may go to an older version
    #[arg(long)]
    pub rollback: bool,
    /// Minutes that it takes
    #[arg(long, default_value_t = 0)]
    pub minutes: u32,
    /// Days until the vendor's role expires
    #[arg(long, default_value_t = 90)]
    pub days: i64,
}

/// Work orders.
#[derive(Debug, Subcommand)]
pub enum Order {
    /// Sign an order
    Sign {
        /// Order as JSON
        order: PathBuf,
        /// Private key (PKCS#8, PEM)
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        /// File to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Check a signed order against the enrolled keys
    Check {
        /// Signed order
        order: PathBuf,
    },
}

/// Profiles.
#[derive(Debug, Subcommand)]
pub enum Profile {
    /// Check a profile file and show every problem with its line
    Check {
        /// Profile
        file: PathBuf,
    },
}

/// The simulated ward.
#[derive(Debug, Subcommand)]
pub enum Sim {
    /// Serve a ward on pseudo-terminals until stopped
    Serve {
        /// Ward file; without it, the built-in ward
        #[arg(long, value_name = "FILE")]
        ward: Option<PathBuf>,
        /// Folder for ports and the control socket
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Make training firmware, signed with the public training key or one of your own
    Firmware {
        /// Version, such as 1.3.0
        #[arg(long = "of-version", value_name = "VERSION")]
        of_version: String,
        /// How it behaves: runs, never-comes-up, fails-self-test, changes-an-alarm-limit, dies-during-soak
        #[arg(long, default_value = "runs")]
        behaviour: String,
        /// Bytes
        #[arg(long, default_value_t = 24_000)]
        size: usize,
        /// Private key (PKCS#8, PEM)
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// File to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
}

/// A plain TUF client.
#[derive(Debug, Args)]
pub struct Tuf {
    /// Folder of trusted metadata
    #[arg(long, value_name = "D")]
    pub metadata_dir: PathBuf,
    /// Repository, http or file URL
    #[arg(long, value_name = "U")]
    pub metadata_url: Option<String>,
    /// Target to download (again for more)
    #[arg(long, value_name = "T")]
    pub target_name: Vec<String>,
    /// Where targets are
    #[arg(long, value_name = "B")]
    pub target_base_url: Option<String>,
    /// Folder for targets
    #[arg(long, value_name = "O")]
    pub target_dir: Option<PathBuf>,
    /// init ROOT, refresh or download
    #[command(subcommand)]
    pub verb: TufVerb,
}

/// What the TUF client does.
#[derive(Debug, Subcommand)]
pub enum TufVerb {
    /// Trust a root on first use
    Init {
        /// Root metadata
        root: PathBuf,
    },
    /// Bring the metadata up to date
    Refresh,
    /// Bring the metadata up to date and download targets
    Download,
}

fn device(text: &str) -> Result<DeviceRef, String> {
    text.parse()
}

fn span(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| "expected a time such as 5s or 1m".to_owned())?;
    Duration::try_from(span).map_err(|_| "expected a time that is not negative".to_owned())
}

/// Returns the moment `days` from `now`.
pub fn in_days(now: Timestamp, days: i64) -> Timestamp {
    now.checked_add(jiff::SignedDuration::from_hours(days.saturating_mul(24))).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
