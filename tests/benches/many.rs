//! 64 devices at once, each on a paced line of its own: each one's rate beside that of one device alone.
//!
//! The ward is served by a child process, so that time and memory here are the laptop's side alone.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aseptic_device::ImageSource;
use aseptic_sim::TRAINING_KEY_PRIVATE;
use aseptic_sim::firmware::{Behaviour, build};
use aseptic_tests::upload::{Image, over};
use nix::sys::resource::{UsageWho, getrusage};

const DEVICES: usize = 64;
const SIZE: usize = 192_000;

fn ward(devices: usize) -> String {
    let device = |i: usize| {
        format!(
            "[[device]]\nport = \"tty{i}\"\nserial = \"S{i}\"\nproduct = \"Simulated SP-1\"\nwire = {{ baud = 115200 }}\npace = {{ erase-ms = 0 }}\n"
        )
    };
    format!("schema = \"aseptic.ward/1\"\n{}", (0..devices).map(device).collect::<String>())
}

struct Ward {
    dir: tempfile::TempDir,
    process: std::process::Child,
}

impl Ward {
    fn serve(devices: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let this = std::env::current_exe().unwrap();
        let process =
            std::process::Command::new(this).args(["serve", &devices.to_string()]).arg(dir.path()).spawn().unwrap();
        let ward = Self { dir, process };
        while ward.ports(devices).iter().any(|p| !p.exists()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        ward
    }

    fn ports(&self, devices: usize) -> Vec<PathBuf> {
        (0..devices).map(|i| self.dir.path().join(format!("tty{i}"))).collect()
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serve(devices: usize, dir: &Path) {
    let ward = aseptic_sim::Ward::parse(&ward(devices)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(aseptic_sim::serve::serve(ward, dir)).unwrap();
}

fn processor_seconds() -> f64 {
    let used = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    [used.user_time(), used.system_time()].iter().map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6).sum()
}

// Not of `getrusage`: that counts what this process was before it became this program, which is cargo.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

// Rate of each device in bytes a second.
fn rates(ports: &[PathBuf], image: &Image) -> Vec<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let uploads =
            ports.iter().map(|port| async { image.len() as f64 / over(port, "console", image).await.as_secs_f64() });
        futures::future::join_all(uploads).await
    })
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, verb, devices, dir] = args.as_slice()
        && verb == "serve"
    {
        return serve(devices.parse().unwrap(), Path::new(dir));
    }
    let name = format!("{DEVICES} devices at once");
    if args.iter().skip(1).any(|a| !a.starts_with('-') && !name.contains(a.as_str())) {
        return;
    }
    let image = Image(build((1, 3, 0, 0), Behaviour::Runs, SIZE, TRAINING_KEY_PRIVATE).unwrap());
    let alone = {
        let ward = Ward::serve(1);
        rates(&ward.ports(1), &image).into_iter().next().unwrap()
    };
    let ward = Ward::serve(DEVICES);
    let (began, used) = (Instant::now(), processor_seconds());
    let mut all = rates(&ward.ports(DEVICES), &image);
    let (wall, used) = (began.elapsed().as_secs_f64(), processor_seconds() - used);
    all.sort_by(f64::total_cmp);
    let share = |rate: f64| 100.0 * rate / alone;
    println!("one device alone: {:.2} KiB/s", alone / 1024.0);
    println!(
        "{name}, each in percent of that: slowest {:.1}, median {:.1}, fastest {:.1}",
        share(all[0]),
        share(all[DEVICES / 2]),
        share(all[DEVICES - 1])
    );
    println!("laptop: {:.0}% of one core, {:.0} MiB at most", 100.0 * used / wall, peak_mib());
}
