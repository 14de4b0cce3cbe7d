//! One SMP packet: eight header bytes and a CBOR map.

use std::borrow::Borrow;

use ciborium::Value;

/// Length of the header in bytes.
pub const HEADER: usize = 8;
/// CBOR nested deeper than this is refused.
const DEPTH: usize = 12;

/// What a packet asks or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Read request.
    Read,
    /// Answer to a read.
    ReadAnswer,
    /// Write request.
    Write,
    /// Answer to a write.
    WriteAnswer,
}

/// Version of the protocol that a packet is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// SMP version 1: errors as `rc`.
    V1,
    /// SMP version 2: errors as `err {group, rc}`.
    V2,
}

/// One packet.
#[derive(Debug, Clone, PartialEq)]
pub struct Packet<Body = Value> {
    /// Request or answer.
    pub op: Op,
    /// Protocol version.
    pub version: Version,
    /// Group.
    pub group: u16,
    /// Pairs an answer with its request.
    pub sequence: u8,
    /// Command in the group.
    pub command: u8,
    /// A CBOR map.
    pub body: Body,
}

/// Bytes that are not a packet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Fewer bytes than a header, or than the header says.
    #[error("packet is cut off")]
    Short,
    /// More bytes than the header says.
    #[error("packet is longer than its header says")]
    Long,
    /// An operation or version that does not exist.
    #[error("unknown operation or version")]
    Header,
    /// The body is not one CBOR map.
    #[error("body is not a cbor map")]
    Body,
}

impl<Body: Borrow<Value>> Packet<Body> {
    /// Writes the packet.
    pub fn encode(&self) -> Result<Vec<u8>, PacketError> {
        let mut body = Vec::new();
        ciborium::into_writer(self.body.borrow(), &mut body).map_err(|_| PacketError::Body)?;
        let length = u16::try_from(body.len()).map_err(|_| PacketError::Long)?;
        let op = match self.op {
            Op::Read => 0,
            Op::ReadAnswer => 1,
            Op::Write => 2,
            Op::WriteAnswer => 3,
        };
        let version: u8 = match self.version {
            Version::V1 => 0,
            Version::V2 => 1,
        };
        let mut out = vec![version << 3 | op, 0];
        out.extend(length.to_be_bytes());
        out.extend(self.group.to_be_bytes());
        out.extend([self.sequence, self.command]);
        out.extend(body);
        Ok(out)
    }
}

impl Packet {
    /// Reads one packet; the bytes must be exactly one.
    pub fn decode(bytes: &[u8]) -> Result<Self, PacketError> {
        let (header, body) = bytes.split_first_chunk::<HEADER>().ok_or(PacketError::Short)?;
        let [first, _flags, l0, l1, g0, g1, sequence, command] = *header;
        match usize::from(u16::from_be_bytes([l0, l1])) {
            length if length > body.len() => return Err(PacketError::Short),
            length if length < body.len() => return Err(PacketError::Long),
            _ => {}
        }
        let op = match first & 0b111 {
            0 => Op::Read,
            1 => Op::ReadAnswer,
            2 => Op::Write,
            3 => Op::WriteAnswer,
            _ => return Err(PacketError::Header),
        };
        let version = match first >> 3 & 0b11 {
            0 => Version::V1,
            1 => Version::V2,
            _ => return Err(PacketError::Header),
        };
        let mut rest = body;
        let body: Value =
            ciborium::de::from_reader_with_recursion_limit(&mut rest, DEPTH).map_err(|_| PacketError::Body)?;
        if !rest.is_empty() || !body.is_map() {
            return Err(PacketError::Body);
        }
        Ok(Self { op, version, group: u16::from_be_bytes([g0, g1]), sequence, command, body })
    }
}

/// Makes a CBOR map with text keys.
pub fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(k, v)| (Value::Text(k.into()), v)).collect())
}

/// Returns the entry of a CBOR map.
pub fn get<'a>(body: &'a Value, key: &str) -> Option<&'a Value> {
    body.as_map()?.iter().find(|(k, _)| k.as_text() == Some(key)).map(|(_, v)| v)
}

/// Returns an entry that is a whole number.
pub fn get_int(body: &Value, key: &str) -> Option<i64> {
    get(body, key)?.as_integer()?.try_into().ok()
}

/// Returns an entry that is a whole number, not negative.
pub fn get_uint(body: &Value, key: &str) -> Option<u64> {
    get_int(body, key)?.try_into().ok()
}

/// Returns an entry that is text.
pub fn get_text<'a>(body: &'a Value, key: &str) -> Option<&'a str> {
    get(body, key)?.as_text()
}

/// Returns an entry that is true; missing counts as false, as devices leave out what is false.
pub fn get_flag(body: &Value, key: &str) -> bool {
    get(body, key).and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_image_list_request_has_the_bytes_that_the_python_smp_package_makes() {
        let packet =
            Packet { op: Op::Read, version: Version::V2, group: 1, sequence: 1, command: 0, body: Value::Map(vec![]) };
        assert_eq!(packet.encode().unwrap(), [0x08, 0, 0, 1, 0, 1, 1, 0, 0xa0]);
    }

    #[test]
    fn an_indefinite_map_reads_like_a_definite_one() {
        let bytes = [0x09, 0, 0, 6, 0, 0, 7, 0, 0xbf, 0x61, b'r', 0x61, b'x', 0xff];
        let packet = Packet::decode(&bytes).unwrap();
        assert_eq!(get_text(&packet.body, "r"), Some("x"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(packet) = Packet::decode(&bytes) {
                prop_assert!(packet.body.is_map());
            }
        }

        #[test]
        fn a_packet_survives_the_wire(group in any::<u16>(), sequence in any::<u8>(), command in any::<u8>(), n in any::<u32>(), data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let body = map([("n", n.into()), ("d", Value::Bytes(data))]);
            let packet = Packet { op: Op::Write, version: Version::V1, group, sequence, command, body };
            prop_assert_eq!(Packet::decode(&packet.encode().unwrap()).unwrap(), packet);
        }
    }
}
