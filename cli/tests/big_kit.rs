//! A kit of 2 GiB is made, verified and taken in 64 MiB of memory. Long, so only `./x sweep` runs it.
#![cfg(target_os = "linux")]
#![allow(clippy::allow_attributes, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod night;

use std::fs::File;
use std::io::{BufWriter, Write as _};

use night::{Night, PUMP};
use nix::sys::resource::{UsageWho, getrusage};
use sha2::{Digest as _, Sha256};

const PAYLOAD: u32 = 2 * 1024 * 1024 * 1024 - 4_096;
const MOST_KIB: i64 = 64 * 1024;

// MCUboot `design.md`: header of 32 bytes, payload, TLV area with the SHA-256 of both.
fn write_image(path: &str) {
    let mut out = BufWriter::new(File::create(path).unwrap());
    let mut digest = Sha256::new();
    let mut header = [0u8; 32];
    header[..4].copy_from_slice(&0x96f3_b83d_u32.to_le_bytes());
    header[8..10].copy_from_slice(&32u16.to_le_bytes());
    header[12..16].copy_from_slice(&PAYLOAD.to_le_bytes());
    header[20] = 9;
    digest.update(header);
    out.write_all(&header).unwrap();
    let block = vec![0x5a; 4_096];
    for _ in 0..PAYLOAD / 4_096 {
        digest.update(&block);
        out.write_all(&block).unwrap();
    }
    out.write_all(&[0x07, 0x69, 40, 0, 0x10, 0, 32, 0]).unwrap();
    out.write_all(&digest.finalize()).unwrap();
    out.flush().unwrap();
}

#[test]
fn two_gibibytes_pass_through_64_mebibytes() {
    if std::env::var_os("ASEPTIC_SWEEP").is_none() {
        return;
    }
    let night = Night::begin(PUMP);
    let (image, kit) = (night.path("big.bin"), night.path("kit"));
    write_image(&image);
    night.ok(&[
        "kit",
        "add",
        &kit,
        "--vendor",
        "simulated",
        "--image",
        &image,
        "--id",
        "big",
        "--for-profile",
        "sim-sp1",
    ]);
    night.ok(&["kit", "sign", &kit, "vendor-simulated", "--key", &night.path("vendor.pem")]);
    let zip = night.path("big.zip");
    night.ok(&["kit", "pack", &kit, "-o", &zip]);
    assert!(std::fs::metadata(&zip).unwrap().len() > u64::from(PAYLOAD));
    night.ok(&["kit", "verify", &zip]);
    night.ok(&["kit", "import", &zip]);
    assert_eq!(night.ok(&["kit", "list"]).records("patch").len(), 2);
    let most = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    println!("the largest command took {} MiB", most / 1024);
    assert!(most < MOST_KIB, "{} KiB", most);
}
