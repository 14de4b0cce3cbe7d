//! SMP over a serial console: Base64 lines among log text (Zephyr `smp_transport.rst`, "UART/serial").
//!
//! A packet gets its length in front and CRC-16/XMODEM behind, both big-endian; the whole is written in
//! Base64, in lines of at most 127 bytes that begin with `06 09` (first) or `04 14` (next) and end with `0A`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use crc::{CRC_16_XMODEM, Crc, Table};

static CRC: Crc<u16, Table<16>> = Crc::<u16, Table<16>>::new(&CRC_16_XMODEM);
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const FIRST: [u8; 2] = [0x06, 0x09];
const NEXT: [u8; 2] = [0x04, 0x14];
const END: u8 = b'\n';
/// Base64 characters in a line: 127 bytes less marker and line end.
const LINE: usize = 124;
/// A line of log text longer than this is dropped.
const LONGEST_LINE: usize = 4_096;

/// Writes one packet as console lines.
pub fn encode(packet: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(packet.len() + 4);
    framed.extend(u16::try_from(packet.len() + 2).unwrap_or(u16::MAX).to_be_bytes());
    framed.extend(packet);
    framed.extend(CRC.checksum(packet).to_be_bytes());
    let text = BASE64.encode(framed);
    let mut out = Vec::with_capacity(text.len() + text.len() / LINE * 3 + 3);
    for (i, line) in text.as_bytes().chunks(LINE).enumerate() {
        out.extend(if i == 0 { FIRST } else { NEXT });
        out.extend(line);
        out.push(END);
    }
    out
}

/// Finds packets in what a console sends; everything else is skipped.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    framed: Option<Vec<u8>>,
}

impl Decoder {
    /// Takes bytes as they arrive and returns the packets that became complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for byte in bytes {
            if *byte == END {
                let line = std::mem::take(&mut self.line);
                packets.extend(self.take_line(&line));
            } else if self.line.len() < LONGEST_LINE {
                self.line.push(*byte);
            }
        }
        packets
    }

    // A prompt or log text may stand before the marker on the same line.
    fn take_line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let (at, marker) = line
            .windows(2)
            .enumerate()
            .rev()
            .find_map(|(i, w)| [FIRST, NEXT].into_iter().find(|m| w == m).map(|m| (i, m)))?;
        let text = line.get(at + 2..)?;
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let Ok(piece) = BASE64.decode(text) else {
            self.framed = None;
            return None;
        };
        if marker == FIRST {
            self.framed = Some(piece);
        } else {
            self.framed.as_mut()?.extend(piece);
        }
        self.complete()
    }

    fn complete(&mut self) -> Option<Vec<u8>> {
        let framed = self.framed.as_ref()?;
        let (length, rest) = framed.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        if rest.len() < length {
            return None;
        }
        let whole = rest.len() == length;
        let packet =
            rest.split_last_chunk::<2>().filter(|(packet, crc)| whole && CRC.checksum(packet).to_be_bytes() == **crc);
        let packet = packet.map(|(packet, _)| packet.to_vec());
        self.framed = None;
        packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_image_list_request_is_the_documented_line() {
        // domain notes on SMP; PyPI smp 4.2.0 makes the same bytes.
        let packet = [0x08, 0, 0, 1, 0, 1, 0, 0, 0xa0];
        assert_eq!(encode(&packet), b"\x06\x09AAsIAAABAAEAAKCvAQ==\n");
        assert_eq!(Decoder::default().push(&encode(&packet)), vec![packet.to_vec()]);
    }

    #[test]
    fn a_damaged_line_loses_only_its_own_packet() {
        let mut decoder = Decoder::default();
        let mut bad = encode(&[1; 300]);
        bad[20] ^= 1;
        assert!(decoder.push(&bad).is_empty());
        assert_eq!(decoder.push(&encode(b"next")), vec![b"next".to_vec()]);
    }

    proptest! {
        #[test]
        fn lines_are_short_and_packets_survive_log_text_and_any_cuts(
            packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..600), 1..4),
            noise in "[ -~\u{e4}]{0,60}",
            cut in 1usize..50,
        ) {
            let mut wire = Vec::new();
            for packet in &packets {
                let lines = encode(packet);
                prop_assert!(lines.split(|b| *b == END).all(|l| l.len() < 127));
                wire.extend(noise.as_bytes());
                wire.push(END);
                wire.extend(b"uart:~$ ");
                wire.extend(lines);
            }
            let mut decoder = Decoder::default();
            let got: Vec<_> = wire.chunks(cut).flat_map(|piece| decoder.push(piece)).collect();
            prop_assert_eq!(got, packets);
        }

        #[test]
        fn any_bytes_are_skipped_without_trouble(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), Just(6), Just(9), Just(4), Just(0x14), Just(b'\n'), Just(b'A')], 0..400)) {
            let mut decoder = Decoder::default();
            decoder.push(&bytes);
            decoder.push(b"\n");
            prop_assert_eq!(decoder.push(&encode(b"ok")), vec![b"ok".to_vec()]);
        }
    }
}
