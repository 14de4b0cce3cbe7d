//! Whatever a console sends, packets come out or nothing does; cutting the bytes changes nothing.
#![no_main]

use aseptic_drivers::smp::console::{Decoder, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = Decoder::default().push(bytes);
    let mut cut = Decoder::default();
    let pieces: Vec<Vec<u8>> = bytes.chunks(3).flat_map(|c| cut.push(c)).collect();
    assert_eq!(whole, pieces);
    if !bytes.is_empty() && bytes.len() < 60_000 {
        assert_eq!(Decoder::default().push(&encode(bytes)), vec![bytes.to_vec()]);
    }
});
