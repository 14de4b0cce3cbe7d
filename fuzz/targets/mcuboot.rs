//! Any bytes are an image or refused.
#![no_main]

use aseptic_device::ImageSource;
use aseptic_patches::mcuboot::McubootImage;
use libfuzzer_sys::fuzz_target;

struct Bytes<'a>(&'a [u8]);

impl ImageSource for Bytes<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn sha256(&self) -> [u8; 32] {
        [0; 32]
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> std::io::Result<()> {
        let at = usize::try_from(offset).map_err(std::io::Error::other)?;
        let from = at.checked_add(buf.len()).and_then(|end| self.0.get(at..end));
        buf.copy_from_slice(from.ok_or(std::io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

fuzz_target!(|bytes: &[u8]| {
    let _ = McubootImage::read(&Bytes(bytes));
});
