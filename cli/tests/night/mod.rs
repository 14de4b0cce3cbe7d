//! One night for the command: a ward on ptys, an enrolled laptop with a kit, and a signed order. Nothing is mocked.
#![allow(dead_code)]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use aseptic_tests::pty_ward::PtyWard;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub const ASEPTIC: &str = env!("CARGO_BIN_EXE_aseptic");

/// A pump on a fast wire.
pub const PUMP: &str = r#"
[[device]]
port = "ttySIM0"
serial = "SP1-2026-0042"
product = "Simulated SP-1"
"#;

/// The same on a line of ordinary speed: an upload can be met under way.
pub const SLOW_PUMP: &str = r#"
[[device]]
port = "ttySIM0"
serial = "SP1-2026-0042"
product = "Simulated SP-1"
wire = { baud = 115200 }
"#;

/// What one call came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub events: Vec<Value>,
    pub stderr: String,
}

impl Ran {
    fn of(output: &Output) -> Self {
        let out = String::from_utf8(output.stdout.clone()).unwrap();
        let events = out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { code: output.status.code().unwrap_or(-1), events, stderr }
    }

    pub fn ended(&self) -> &Value {
        self.events.last().unwrap_or_else(|| panic!("no event: {}", self.stderr))
    }

    #[track_caller]
    pub fn expect(self, code: i32, state: &str) -> Self {
        let ended = self.ended();
        assert_eq!((self.code, ended["device-state"].as_str()), (code, Some(state)), "{ended:#}\n{}", self.stderr);
        self
    }

    pub fn records(&self, kind: &str) -> Vec<&Value> {
        self.events.iter().filter(|e| e["kind"] == kind).map(|e| &e["record"]).collect()
    }

    pub fn has(&self, event: &str) -> bool {
        self.events.iter().any(|e| e["event"] == event)
    }
}

/// A ward, and a laptop that may work on it.
pub struct Night {
    pub ward: PtyWard,
    pub dir: tempfile::TempDir,
    hospital: String,
}

impl Night {
    /// Serves the devices, makes keys, firmware and kit, enrols the laptop and imports.
    pub fn begin(devices: &str) -> Self {
        Self::begin_with(devices, 40_000)
    }

    /// The same with firmware of another size, in bytes.
    pub fn begin_with(devices: &str, size: usize) -> Self {
        let ward = PtyWard::serve(&format!("schema = \"aseptic.ward/1\"\n{devices}"));
        let mut night = Self { ward, dir: tempfile::tempdir().unwrap(), hospital: String::new() };
        let dir = night.dir.path().to_owned();
        let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let (kit, vendor) = (at("kit"), at("vendor.pem"));
        night.ok(&["kit", "key", &vendor]);
        night.ok(&["kit", "key", &at("approver.pem")]);
        night.ok(&["sim", "firmware", "--of-version", "1.3.0", "--size", &size.to_string(), "-o", &at("1.3.0.bin")]);
        night.ok(&["kit", "new", &kit]);
        night.ok(&["kit", "delegate", &kit, "simulated", "--key", &at("vendor.pub.pem")]);
        let image = at("1.3.0.bin");
        night.ok(&[
            "kit",
            "add",
            &kit,
            "--vendor",
            "simulated",
            "--image",
            &image,
            "--id",
            "sp1-1.3.0",
            "--for-profile",
            "sim-sp1",
            "--for-profile",
            "sim-pm3",
            "--for-profile",
            "sim-ip2",
        ]);
        night.ok(&["kit", "sign", &kit, "vendor-simulated", "--key", &vendor]);
        night.ok(&["kit", "pack", &kit, "-o", &at("kit.zip")]);
        let signer = format!("Approver={}", at("approver.pub.pem"));
        let enrolled = night.ok(&["enrol", "--root", &format!("{kit}/metadata/1.root.json"), "--signer", &signer]);
        night.hospital = enrolled.events.iter().find_map(|e| e["record"]["hospital"].as_str()).unwrap().into();
        night.ok(&["kit", "import", &at("kit.zip")]);
        night
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("laptop")
    }

    /// Prepares a call, without `--json`, with nothing of the surrounding environment but the path.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(ASEPTIC);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("ASEPTIC_DATA_DIR", self.data()).env("ASEPTIC_SIM", self.ward.dir());
        command.args(args).stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(&self.command(args).arg("--json").output().unwrap())
    }

    #[track_caller]
    pub fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, 0, "{args:?}: {:?}\n{}", ran.events.last(), ran.stderr);
        ran
    }

    /// Starts a call that goes on.
    pub fn start(&self, args: &[&str]) -> Going {
        let mut child = self.command(args).arg("--json").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Going { child, lines, seen: Vec::new() }
    }

    /// Plans the patch, with fixes; returns the plan's file.
    pub fn plan(&self, serial: &str, fixes: &[&str]) -> String {
        let file = self.path(&format!("plan-{serial}.json"));
        let mut args = vec!["plan", serial, "--patch", "sp1-1.3.0", "-o", &file];
        fixes.iter().for_each(|f| args.extend(["--fix", f]));
        self.ok(&args);
        file
    }

    /// Signs an order for devices (serial number, or profile and serial number) and the kit's image, for three hours, with everything vouched for; returns its file.
    pub fn order(&self, devices: &[(&str, Value)]) -> String {
        let list = self.ok(&["kit", "list"]);
        let hash = list.records("patch")[0]["image"]["hash"].as_str().unwrap().to_owned();
        self.order_for_image(devices, &hash)
    }

    /// The same for another image, by its hash.
    pub fn order_for_image(&self, devices: &[(&str, Value)], hash: &str) -> String {
        let (from, until) = (self.ago(300), self.ago(-3 * 3_600));
        let people = [("T. Technician", "technician"), ("N. Nurse", "clinical-owner")];
        let vouched: Vec<Value> = ["not-on-patient", "laptop", "loaner", "decontaminated"]
            .iter()
            .flat_map(|gate| {
                people.map(|(name, role)| json!({ "gate": gate, "by": { "name": name, "role": role }, "at": from }))
            })
            .collect();
        let devices: Vec<Value> = devices
            .iter()
            .map(|(device, settings)| {
                let device = if device.contains('/') { (*device).to_owned() } else { format!("sim-sp1/{device}") };
                json!({ "id": format!("id:{device}"), "image": hash, "settings": settings, "attestations": vouched })
            })
            .collect();
        let id = format!("WO-{}-{}", devices.len(), &hash[..8]);
        let order = json!({
            "schema": "aseptic.order/1", "id": id, "hospital": self.hospital, "issued": from,
            "window": { "from": from, "until": until },
            "approvers": [{ "name": "A. Approver", "role": "approver" }], "devices": devices,
        });
        let (file, signed) = (self.path("order.json"), self.path(&id));
        std::fs::write(&file, order.to_string()).unwrap();
        self.ok(&["order", "sign", &file, "--key", &self.path("approver.pem"), "-o", &signed]);
        signed
    }

    fn ago(&self, seconds: i64) -> String {
        (Timestamp::now() - SignedDuration::from_secs(seconds)).to_string()
    }

    /// Returns `true` once the device's truth fits, within ten seconds.
    pub fn wait_for(&self, serial: &str, fits: impl Fn(&Value) -> bool) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if fits(&self.ward.truth(serial)) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

/// A call that goes on.
pub struct Going {
    pub child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    pub seen: Vec<Value>,
}

impl Going {
    /// Reads events until one fits; `false` if the call ends first.
    pub fn until(&mut self, fits: impl Fn(&Value) -> bool) -> bool {
        for line in self.lines.by_ref() {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let found = fits(&event);
            self.seen.push(event);
            if found {
                return true;
            }
        }
        false
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub fn finish(mut self) -> Ran {
        self.until(|_| false);
        let status = self.child.wait().unwrap();
        Ran { code: status.code().unwrap_or(-1), events: self.seen, stderr: String::new() }
    }
}
