//! Upload speed over a serial line: Aseptic beside its peers, on the same simulated devices, in one run.
//!
//! Shares are payload bytes against what the line could carry; without a baud rate the best peer is the measure.

use std::path::Path;
use std::time::{Duration, Instant};

use aseptic_sim::TRAINING_KEY_PRIVATE;
use aseptic_sim::firmware::{Behaviour, build};
use aseptic_tests::oracle::python;
use aseptic_tests::pty_ward::PtyWard;
use aseptic_tests::upload::{Image, over};
use mcumgr_toolkit::MCUmgrClient;

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
    case("unpaced, 384 x 4", 0, 0, 384, "console", 900_000),
    case("unpaced, 2048 x 4", 0, 0, 2_048, "console", 900_000),
];

fn aseptic(port: &Path, framing: &str, image: &[u8]) -> f64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(over(port, framing, &Image(image.to_vec()))).as_secs_f64()
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

fn middle(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    println!(
        "{:<32} {:>20} {:>20} {:>20} {:>9}",
        "KiB/s (share of the line)", "aseptic", "mcumgr-toolkit", "smpclient", "ratio"
    );
    // `./x bench "unpaced, 384"`: only the cases whose name holds this. With `--alone` no peers, for a profiler.
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default();
    let alone = std::env::args().any(|a| a == "--alone");
    for Case { name, baud, delay_ms, buffers, framing, size } in CASES {
        if !name.contains(&wanted) {
            continue;
        }
        let ward = PtyWard::serve(&format!(
            "schema = \"aseptic.ward/1\"\n[[device]]\nport = \"tty\"\nserial = \"S\"\nproduct = \"Simulated SP-1\"\n\
             wire = {{ baud = {baud}, delay-ms = {delay_ms}, buffer-size = {}, buffer-count = {}, framing = \"{framing}\" }}\n\
             pace = {{ erase-ms = 0 }}\n",
            buffers.0, buffers.1
        ));
        let port = ward.port("tty");
        let image = build((1, 3, 0, 0), Behaviour::Runs, size, TRAINING_KEY_PRIVATE).unwrap();
        let bytes = image.len() as f64;
        if alone {
            let rates = (0..10).map(|_| format!("{:.0}", bytes / aseptic(&port, framing, &image) / 1024.0));
            println!("{name:<32} {}", rates.collect::<Vec<_>>().join(" "));
            continue;
        }
        // Without a line that paces them, single runs differ by half: turn about, and the middle one counts.
        let rounds = if baud == 0 && delay_ms == 0 { 11 } else { 1 };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(bytes / aseptic(&port, framing, &image));
            theirs.push(bytes / toolkit(&port, framing, &image));
        }
        let (ours, theirs) = (middle(ours), middle(theirs));
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
