//! SMP framing on the device's side, written from the protocol description and independent of the drivers.

use std::collections::VecDeque;

use data_encoding::BASE64;

/// How packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Framing {
    /// Base64 lines on a console.
    #[default]
    Console,
    /// Packets as they are.
    Raw,
}

/// CRC-16 with polynomial 0x1021, start 0, as Zephyr's `crc16_itu_t`.
fn crc(bytes: &[u8]) -> u16 {
    let mut crc = 0u16;
    for byte in bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
        }
    }
    crc
}

/// Writes one packet for the wire.
pub(crate) fn frame(framing: Framing, packet: &[u8]) -> Vec<u8> {
    if framing == Framing::Raw {
        return packet.to_vec();
    }
    let length = u16::try_from(packet.len() + 2).unwrap_or(u16::MAX);
    let mut body = length.to_be_bytes().to_vec();
    body.extend_from_slice(packet);
    body.extend_from_slice(&crc(packet).to_be_bytes());
    let mut out = Vec::new();
    // 93 bytes make 124 characters, the most that fit in a line of 127 with marker and end.
    for (i, piece) in body.chunks(93).enumerate() {
        out.extend_from_slice(if i == 0 { b"\x06\x09" } else { b"\x04\x14" });
        out.extend_from_slice(BASE64.encode(piece).as_bytes());
        out.push(b'\n');
    }
    out
}

/// Collects packets from received bytes.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    framing: Framing,
    /// The most bytes of a packet with length and CRC; longer ones are dropped without a word.
    buffer: usize,
    line: Vec<u8>,
    body: Vec<u8>,
    expected: Option<usize>,
    raw: VecDeque<u8>,
}

impl Receiver {
    pub(crate) fn new(framing: Framing, buffer: usize) -> Self {
        Self { framing, buffer, ..Self::default() }
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        if self.framing == Framing::Raw {
            self.raw.extend(bytes);
            while let Some(packet) = self.next_raw() {
                packets.push(packet);
            }
            return packets;
        }
        for byte in bytes {
            if *byte == b'\n' {
                let line = std::mem::take(&mut self.line);
                packets.extend(self.end_of_line(&line));
            } else if self.line.len() < 256 {
                self.line.push(*byte);
            }
        }
        packets
    }

    fn next_raw(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(u16::from_be_bytes([*self.raw.get(2)?, *self.raw.get(3)?])) + 8;
        if self.raw.len() < length {
            return None;
        }
        let packet: Vec<u8> = self.raw.drain(..length).collect();
        Some(packet).filter(|p| p.len() <= self.buffer)
    }

    fn end_of_line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        let (marker, text) = line.split_first_chunk::<2>()?;
        let piece = BASE64.decode(text).ok();
        match (marker, piece) {
            (b"\x06\x09", Some(piece)) => {
                let (length, rest) = piece.split_first_chunk::<2>()?;
                self.expected = Some(usize::from(u16::from_be_bytes(*length)));
                self.body = rest.to_vec();
            }
            (b"\x04\x14", Some(piece)) if self.expected.is_some() => self.body.extend(piece),
            _ => self.expected = None,
        }
        let expected = self.expected?;
        if expected + 2 > self.buffer || self.body.len() > expected {
            self.expected = None;
            return None;
        }
        if self.body.len() < expected {
            return None;
        }
        self.expected = None;
        let body = std::mem::take(&mut self.body);
        let (packet, sum) = body.split_last_chunk::<2>()?;
        (crc(packet) == u16::from_be_bytes(*sum)).then(|| packet.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_xmodems() {
        assert_eq!(crc(b"123456789"), 0x31c3);
    }

    #[test]
    fn packets_survive_and_oversized_ones_are_dropped_silently() {
        for framing in [Framing::Console, Framing::Raw] {
            let mut receiver = Receiver::new(framing, 400);
            let small = [&[8, 0, 0, 200, 0, 0, 0, 0][..], &[7; 200]].concat();
            let large = [&[8, 0, 1, 144, 0, 0, 0, 0][..], &[7; 400]].concat();
            assert_eq!(receiver.take(&frame(framing, &small)), vec![small.clone()]);
            assert!(receiver.take(&frame(framing, &large)).is_empty());
            assert_eq!(receiver.take(&frame(framing, &small)), vec![small]);
        }
    }
}
