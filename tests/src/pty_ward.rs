//! A simulated ward on real ptys, in a thread of its own, for programs that know nothing of Aseptic.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aseptic_sim::Ward;

/// A ward that is served until the process ends.
#[derive(Debug)]
pub struct PtyWard {
    dir: tempfile::TempDir,
}

impl PtyWard {
    /// Serves a ward and waits until every port and the message bus are there.
    pub fn serve(toml: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ward = Ward::parse(toml).unwrap();
        let ports = ward.devices.iter().filter(|d| d.radio.is_none()).count();
        let at = dir.path().to_owned();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(aseptic_sim::serve::serve(ward, &at)).unwrap();
        });
        let ward = Self { dir };
        let end = Instant::now() + Duration::from_secs(10);
        while ward.sidecars() < ports || !ward.port("control").exists() {
            assert!(Instant::now() < end, "the ward did not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        ward
    }

    fn sidecars(&self) -> usize {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        entries.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".usb.json")).count()
    }

    /// Returns the ward's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the path of a port.
    pub fn port(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Sends a line to the ward's control socket and returns the answer.
    pub fn control(&self, line: &str) -> serde_json::Value {
        control(self.dir(), line)
    }

    /// Returns what a device really holds, past every protocol.
    pub fn truth(&self, serial: &str) -> serde_json::Value {
        self.control(&format!("truth {serial}"))
    }
}

/// Sends a line to the control socket of the ward in a folder and returns the answer.
pub fn control(ward: &Path, line: &str) -> serde_json::Value {
    let mut stream = UnixStream::connect(ward.join("control")).unwrap();
    writeln!(stream, "{line}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}
