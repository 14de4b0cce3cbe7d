//! Bare uploads, for benchmarks.

use std::path::Path;
use std::time::{Duration, Instant};

use aseptic_device::driver::Readiness;
use aseptic_device::profile::Profile;
use aseptic_device::{Address, Bus as _, Control, DriverError, ImageId, ImageSource, Opener as _, Sighting, Transport};
use aseptic_drivers::Registry;
use aseptic_transports::SerialBus;
use sha2::{Digest as _, Sha256};

/// An image in memory.
#[derive(Debug)]
pub struct Image(pub Vec<u8>);

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

/// A hand that does nothing.
#[derive(Debug)]
pub struct Quiet;

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

/// Sends an image over a port; returns how long the upload took, without the opening.
pub async fn over(port: &Path, framing: &str, image: &Image) -> Duration {
    let text = std::fs::read_to_string(crate::oracle::root().join("drivers/profiles/sim-sp1.toml")).unwrap();
    let framed = format!("[serial]\nframing = \"{framing}\"\n\n[identity]");
    let profile = Profile::parse(&text.replace("[identity]", &framed)).unwrap();
    let address = Address::Port(port.to_string_lossy().into_owned());
    let at = Sighting { address, usb: None, radio: None, name: None, named: true, simulated: true };
    let link = SerialBus::new(vec![port.to_owned()]).open(&at, &profile.serial.line).await.unwrap();
    through(link, &profile, &at, image).await
}

/// Sends an image through an open link; returns how long the upload took.
pub async fn through(link: Box<dyn Transport>, profile: &Profile, at: &Sighting, image: &Image) -> Duration {
    let mut device = Registry.change(profile, at, link).unwrap();
    let began = Instant::now();
    device.upload(ImageId(0), image, &Quiet).await.unwrap();
    began.elapsed()
}
