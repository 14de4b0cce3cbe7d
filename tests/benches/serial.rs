//! Upload speed over a serial line: Aseptic beside its peers, on the same simulated devices, in one run.
//!
//! Shares are payload bytes against what the line could carry; without a baud rate the best peer is the measure.

use std::path::Path;
use std::time::{Duration, Instant};

use aseptic_device::driver::Readiness;
use aseptic_device::profile::Profile;
use aseptic_device::{Address, Bus as _, Control, DriverError, ImageId, ImageSource, Opener as _, Sighting};
use aseptic_drivers::Registry;
use aseptic_sim::TRAINING_KEY_PRIVATE;
use aseptic_sim::firmware::{Behaviour, build};
use aseptic_tests::oracle::python;
use aseptic_tests::pty_ward::PtyWard;
use aseptic_transports::SerialBus;
use mcumgr_toolkit::MCUmgrClient;
use sha2::{Digest as _, Sha256};

struct Case {
    name: &'static str,
    baud: u32,
    delay_ms: u32,
    buffers: (usize, usize),
    framing: &'static str,
    size: usize,
}

const fn case(name: &'static str, baud: u32, delay_ms: u32, buffer: usize, framing: &'static str, size: usize) -> Case {
    Case { name, baud, delay_ms, buffers: (buffer, 4), framing, size }
}

const CASES: [Case; 9] = [
    case("115200 baud, 384 x 4", 115_200, 0, 384, "console", 48_000),
    case("115200 baud, 2048 x 4", 115_200, 0, 2_048, "console", 64_000),
    case("115200 baud + 30 ms, 384 x 4", 115_200, 30, 384, "console", 96_000),
    case("115200 baud + 30 ms, 2048 x 4", 115_200, 30, 2_048, "console", 192_000),
    case("115200 baud, raw, 2048 x 4", 115_200, 0, 2_048, "raw", 96_000),
    case("unpaced + 30 ms, 384 x 4", 0, 30, 384, "console", 64_000),
    case("unpaced + 30 ms, 2048 x 4", 0, 30, 2_048, "console", 256_000),
    case("unpaced, 384 x 4", 0, 0, 384, "console", 512_000),
    case("unpaced, 2048 x 4", 0, 0, 2_048, "console", 900_000),
];

struct Image(Vec<u8>);

impl ImageSource for Image {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.0).into()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let at = usize::try_from(offset).unwrap();
        buf.copy_from_slice(&self.0[at..at + buf.len()]);
        Ok(())
    }
}

struct Quiet;

impl Control for Quiet {
    fn progress(&self, _: u64, _: u64) {}

    fn stopped(&self) -> bool {
        false
    }

    fn sample_every(&self) -> Option<Duration> {
        None
    }

    fn sampled(&self, _: Result<Readiness, DriverError>) {}
}

fn aseptic(port: &Path, framing: &str, image: &[u8]) -> f64 {
    let text = std::fs::read_to_string(aseptic_tests::oracle::root().join("drivers/profiles/sim-sp1.toml")).unwrap();
    let profile =
        Profile::parse(&text.replace("[identity]", &format!("[serial]\nframing = \"{framing}\"\n\n[identity]")))
            .unwrap();
    let address = Address::Port(port.to_string_lossy().into_owned());
    let at = Sighting { address, usb: None, radio: None, name: None, named: true, simulated: true };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let bus = SerialBus::new(vec![port.to_owned()]);
        let link = bus.open(&at, &profile.serial.line).await.unwrap();
        let mut device = Registry.change(&profile, &at, link).unwrap();
        let began = Instant::now();
        device.upload(ImageId(0), &Image(image.to_vec()), &Quiet).await.unwrap();
        began.elapsed().as_secs_f64()
    })
}

fn toolkit(port: &Path, framing: &str, image: &[u8]) -> f64 {
    let serial = serialport::new(port.to_str().unwrap(), 115_200).timeout(Duration::from_secs(10)).open().unwrap();
    let client = if framing == "raw" {
        MCUmgrClient::new_from_raw_serial(serial)
    } else {
        MCUmgrClient::new_from_serial(serial)
    };
    client.use_auto_frame_size().unwrap();
    let began = Instant::now();
    client.image_upload(image, None, None, false, None).unwrap();
    began.elapsed().as_secs_f64()
}

fn smpclient(port: &Path, framing: &str, image: &[u8]) -> Option<f64> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), image).unwrap();
    let said = python("smpclient_upload.py", &[port.to_str().unwrap(), file.path().to_str().unwrap(), framing])?;
    said.trim().parse().ok()
}

fn main() {
    println!(
        "{:<32} {:>20} {:>20} {:>20} {:>9}",
        "KiB/s (share of the line)", "aseptic", "mcumgr-toolkit", "smpclient", "ratio"
    );
    for Case { name, baud, delay_ms, buffers, framing, size } in CASES {
        let ward = PtyWard::serve(&format!(
            "schema = \"aseptic.ward/1\"\n[[device]]\nport = \"tty\"\nserial = \"S\"\nproduct = \"Simulated SP-1\"\n\
             wire = {{ baud = {baud}, delay-ms = {delay_ms}, buffer-size = {}, buffer-count = {}, framing = \"{framing}\" }}\n\
             pace = {{ erase-ms = 0 }}\n",
            buffers.0, buffers.1
        ));
        let port = ward.port("tty");
        let image = build((1, 3, 0, 0), Behaviour::Runs, size, TRAINING_KEY_PRIVATE).unwrap();
        let bytes = image.len() as f64;
        let ours = bytes / aseptic(&port, framing, &image);
        let theirs = bytes / toolkit(&port, framing, &image);
        let third = smpclient(&port, framing, &image).map(|s| bytes / s);
        let shown = |rate: f64| match baud {
            0 => format!("{:.1}", rate / 1024.0),
            _ => format!("{:.2} ({:.1}%)", rate / 1024.0, rate * 1_000.0 / f64::from(baud)),
        };
        let best = third.unwrap_or(0.0).max(theirs);
        println!(
            "{name:<32} {:>20} {:>20} {:>20} {:>8.2}x",
            shown(ours),
            shown(theirs),
            third.map_or_else(|| "not run".into(), shown),
            ours / best
        );
    }
}
