//! The ward in a folder: one link a pseudo-terminal with a `<port>.usb.json` beside it, a message bus `bus` with an `org.bluez`
//! where devices have a radio, and a control socket.
//!
//! Control: one command a line on `DIR/control`, one JSON object back. `truth SERIAL`,
//! `set SERIAL NAME VALUE`, `cut SERIAL MILLISECONDS`, `adapter NAME off|on|unplug|plug`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::adapter::Adapters;
use crate::bus::usb;
use crate::life::{Shared, Socket, Wire, live, lock};
use crate::machine::Machine;
use crate::ward::{Device, Ward};

const EXPECTED: &str = "expected: truth|set|cut SERIAL …, or adapter NAME off|on|unplug|plug";

// What the control socket reaches.
struct Hands {
    machines: BTreeMap<String, Shared>,
    adapters: Adapters,
}

/// Serves a ward in a folder until it fails or the task is dropped. Once `DIR/control` is there, `DIR/bus` is too, if any device has a radio.
pub async fn serve(ward: Ward, dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let control = dir.join("control");
    let _ = fs::remove_file(&control);
    let adapters = Adapters::of(&ward);
    #[cfg(target_os = "linux")]
    let air = if adapters.iter().next().is_some() {
        Some(crate::bluez::Air::begin(dir, adapters.clone(), jiff::Zoned::now).await?)
    } else {
        None
    };
    let listener = UnixListener::bind(&control)?;
    let mut machines: BTreeMap<String, Shared> = BTreeMap::new();
    let mut lives = JoinSet::new();
    for spec in ward.devices {
        let Some(machine) = Machine::new(spec.clone()) else { continue };
        let shared = Arc::new(Mutex::new(machine));
        machines.insert(spec.serial.clone(), shared.clone());
        match spec.radio.clone() {
            None => drop(lives.spawn(live(shared, Port { dir: dir.to_owned(), spec, open: None }))),
            #[cfg(target_os = "linux")]
            Some(radio) => {
                if let Some(air) = &air {
                    lives.spawn(live(shared.clone(), crate::bluez::Antenna::new(air.clone(), shared, radio)));
                }
            }
            #[cfg(not(target_os = "linux"))]
            Some(_) => tracing::warn!(serial = spec.serial, "left out: radios are simulated on Linux only"),
        }
    }
    let hands = Arc::new(Hands { machines, adapters });
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(talk(stream, hands.clone()));
    }
}

async fn talk(stream: UnixStream, hands: Arc<Hands>) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = obey(&line, &hands);
        if write.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
            return;
        }
    }
}

fn obey(line: &str, hands: &Hands) -> serde_json::Value {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let ["adapter", name, verb] = words.as_slice() {
        return match hands.adapters.obey(name, verb) {
            true => serde_json::json!({ "ok": true }),
            false => serde_json::json!({ "error": EXPECTED }),
        };
    }
    let machine = words.get(1).and_then(|serial| hands.machines.get(*serial));
    let (Some(verb), Some(machine)) = (words.first(), machine) else {
        return serde_json::json!({ "error": EXPECTED });
    };
    let mut machine = lock(machine);
    match (*verb, words.get(2), words.get(3)) {
        ("truth", None, None) => serde_json::to_value(machine.truth()).unwrap_or_default(),
        ("set", Some(name), Some(value)) => serde_json::json!({ "ok": machine.set_from_outside(name, value) }),
        ("cut", Some(ms), None) => match ms.parse() {
            Ok(ms) => {
                machine.power().pull(Duration::from_millis(ms));
                serde_json::json!({ "ok": true })
            }
            Err(_) => serde_json::json!({ "error": "expected milliseconds" }),
        },
        _ => serde_json::json!({ "error": EXPECTED }),
    }
}

struct Port {
    dir: PathBuf,
    spec: Device,
    open: Option<Open>,
}

// The device's side holds both ends, so that a laptop that closes its end does not hang the device up.
struct Open {
    path: PathBuf,
    master: Arc<AsyncFd<OwnedFd>>,
    _slave: OwnedFd,
    pump: Option<JoinHandle<()>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(pump) = &self.pump {
            pump.abort();
        }
        let _ = fs::remove_file(sidecar(&self.path));
        let _ = fs::remove_file(&self.path);
    }
}

fn sidecar(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".usb.json");
    name.into()
}

impl Port {
    fn open(&self, restart: u64) -> io::Result<Open> {
        let pty = openpty(None, None)?;
        let mut settings = tcgetattr(&pty.slave)?;
        cfmakeraw(&mut settings);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &settings)?;
        fcntl(pty.master.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let name = if self.spec.wire.moves && restart > 0 {
            format!("{}-{restart}", self.spec.port)
        } else {
            self.spec.port.clone()
        };
        let path = self.dir.join(name);
        let _ = fs::remove_file(&path);
        symlink(nix::unistd::ttyname(&pty.slave)?, &path)?;
        fs::write(sidecar(&path), serde_json::to_vec(&usb(&self.spec))?)?;
        #[expect(
            deprecated,
            reason = "the replacement is unsafe; an owned descriptor stays open as long as it is registered"
        )]
        let master = AsyncFd::new(pty.master)?;
        Ok(Open { path, master: Arc::new(master), _slave: pty.slave, pump: None })
    }
}

#[async_trait]
impl Socket for Port {
    async fn appear(&mut self, restart: u64) {
        match self.open(restart) {
            Ok(open) => self.open = Some(open),
            Err(error) => tracing::error!(port = %self.spec.port, %error, "port cannot be opened"),
        }
    }

    async fn accept(&mut self) -> Wire {
        let Some(open) = &mut self.open else { return std::future::pending().await };
        if open.pump.as_ref().is_some_and(|p| !p.is_finished()) {
            return std::future::pending().await;
        }
        let (to_device, from_laptop) = mpsc::channel(64);
        let (to_laptop, from_device) = mpsc::channel(64);
        open.pump = Some(tokio::spawn(pump(open.master.clone(), to_device, from_device)));
        Wire { from_laptop, to_laptop }
    }

    async fn vanish(&mut self) {
        self.open = None;
    }
}

async fn pump(
    master: Arc<AsyncFd<OwnedFd>>,
    to_device: mpsc::Sender<Vec<u8>>,
    mut from_device: mpsc::Receiver<Vec<u8>>,
) {
    let reading = async {
        let mut buffer = [0; 4_096];
        loop {
            let read =
                master.async_io(tokio::io::Interest::READABLE, |fd| Ok(nix::unistd::read(fd, &mut buffer)?)).await;
            let Ok(n @ 1..) = read else { return };
            let bytes = buffer.get(..n).unwrap_or_default().to_vec();
            if to_device.send(bytes).await.is_err() {
                return;
            }
        }
    };
    let writing = async {
        while let Some(bytes) = from_device.recv().await {
            let mut left = bytes.as_slice();
            while !left.is_empty() {
                let written =
                    master.async_io(tokio::io::Interest::WRITABLE, |fd| Ok(nix::unistd::write(fd, left)?)).await;
                let Ok(n) = written else { return };
                left = left.get(n..).unwrap_or_default();
            }
        }
    };
    tokio::select! { () = reading => {}, () = writing => {} }
}
