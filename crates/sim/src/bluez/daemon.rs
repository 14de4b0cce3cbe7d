//! A message bus of the ward's own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use zbus::Connection;
use zbus::connection::Builder;

/// Longest wait for the bus to come up.
const START: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

// A shell holds the daemon and waits for the end of its input: that comes when this process ends, however it ends.
const KEEPER: &str = r#"dbus-daemon --nofork --config-file="$1" & bus=$!; read -r _; kill $bus; wait $bus"#;

const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>ADDRESS</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
  <limit name="max_incoming_bytes">1000000000</limit>
  <limit name="max_outgoing_bytes">1000000000</limit>
  <limit name="max_message_size">1000000000</limit>
</busconfig>
"#;

/// A running message bus; it ends with this value.
#[derive(Debug)]
pub(crate) struct Daemon {
    keeper: Child,
    socket: PathBuf,
}

impl Daemon {
    /// Starts a bus on `DIR/bus` and connects to it.
    pub(crate) async fn start(dir: &Path) -> io::Result<(Self, Connection)> {
        let dir = std::fs::canonicalize(dir)?;
        let (socket, config) = (dir.join("bus"), dir.join("bus.conf"));
        let _ = std::fs::remove_file(&socket);
        let address = format!("unix:path={}", escaped(&socket));
        std::fs::write(&config, CONFIG.replace("ADDRESS", &address))?;
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("bus.log"))?)
            .spawn()?;
        let daemon = Self { keeper, socket };
        let end = tokio::time::Instant::now() + START;
        loop {
            let opened =
                if daemon.socket.exists() { Builder::address(address.as_str()).build().await.ok() } else { None };
            match opened {
                Some(connection) => return Ok((daemon, connection)),
                None if tokio::time::Instant::now() > end => {
                    let log = std::fs::read_to_string(dir.join("bus.log")).unwrap_or_default();
                    let why = "the ward's message bus did not start; it needs dbus-daemon (package dbus)";
                    return Err(io::Error::other(format!("{why}: {}", log.trim_end())));
                }
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Writes a path as D-Bus addresses have it; what remains needs no escape in XML either.
fn escaped(path: &Path) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_/.*\\".contains(&b);
    path.as_os_str()
        .as_encoded_bytes()
        .iter()
        .map(|b| if plain(*b) { char::from(*b).to_string() } else { format!("%{b:02x}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_folders_are_escaped() {
        assert_eq!(escaped(Path::new("/tmp/a b/<&>,;")), "/tmp/a%20b/%3c%26%3e%2c%3b");
    }
}
