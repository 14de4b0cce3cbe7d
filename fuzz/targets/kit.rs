//! Any file is a kit or refused: the first bytes are the pinned root, the rest the ZIP.
#![no_main]

use std::io::{self, Read};

use aseptic_device::ImageSource;
use aseptic_patches::kit::{Ladder, ObjectSink, Source, TrustState, import};
use libfuzzer_sys::fuzz_target;

struct Nowhere;

impl ObjectSink for Nowhere {
    fn put(&mut self, _: &[u8; 32], length: u64, from: &mut dyn Read) -> io::Result<()> {
        io::copy(&mut from.take(length), &mut io::sink()).map(drop)
    }

    fn open(&self, _: &[u8; 32]) -> io::Result<Box<dyn ImageSource>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fuzz_target!(|parts: (Vec<u8>, Vec<u8>)| {
    let file = tempfile::Builder::new().suffix(".zip").tempfile().expect("a temporary file");
    std::fs::write(file.path(), &parts.1).expect("room for it");
    let trusted = TrustState { files: [("root.json".to_owned(), parts.0)].into(), newest: None };
    let _ = trusted.check();
    if let Ok(mut source) = Source::open(file.path()) {
        let _ = import(&mut source, &trusted, jiff::Timestamp::UNIX_EPOCH, Ladder::default(), &mut Nowhere);
    }
});
