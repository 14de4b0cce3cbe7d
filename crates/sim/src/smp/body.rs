//! CBOR bodies on the device's side.

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

/// A CBOR value as SMP uses it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Item {
    Int(u64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Item>),
    Map(Body),
}

/// A CBOR map with text keys.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Body(pub Vec<(String, Item)>);

const DEPTH: u32 = 6;

impl Body {
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut decoder = Decoder::new(bytes);
        let body = decode_map(&mut decoder, DEPTH)?;
        (decoder.position() == bytes.len()).then_some(body)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        // Writing to memory cannot fail.
        let _ = encode_map(&mut encoder, self);
        encoder.into_writer()
    }

    fn get(&self, key: &str) -> Option<&Item> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn int(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Item::Int(i) => Some(*i),
            _ => None,
        }
    }

    pub(crate) fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Item::Bool(true)))
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match self.get(key)? {
            Item::Text(t) => Some(t),
            _ => None,
        }
    }

    pub(crate) fn bytes(&self, key: &str) -> Option<&[u8]> {
        match self.get(key)? {
            Item::Bytes(b) => Some(b),
            _ => None,
        }
    }
}

fn decode_map(decoder: &mut Decoder<'_>, depth: u32) -> Option<Body> {
    let depth = depth.checked_sub(1)?;
    let length = decoder.map().ok()?;
    let mut entries = Vec::new();
    loop {
        let ended = match length {
            Some(n) => entries.len() as u64 >= n,
            None => decoder.datatype().ok()? == Type::Break,
        };
        if ended {
            if length.is_none() {
                decoder.skip().ok()?;
            }
            return Some(Body(entries));
        }
        let key = decoder.str().ok()?.to_owned();
        entries.push((key, decode_item(decoder, depth)?));
    }
}

fn decode_item(decoder: &mut Decoder<'_>, depth: u32) -> Option<Item> {
    Some(match decoder.datatype().ok()? {
        Type::Bool => Item::Bool(decoder.bool().ok()?),
        Type::String => Item::Text(decoder.str().ok()?.to_owned()),
        Type::Bytes => Item::Bytes(decoder.bytes().ok()?.to_vec()),
        Type::Map | Type::MapIndef => Item::Map(decode_map(decoder, depth)?),
        _ => Item::Int(decoder.u64().ok()?),
    })
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn encode_map(encoder: &mut Encoder<Vec<u8>>, body: &Body) -> Written {
    encoder.map(body.0.len() as u64)?;
    for (key, item) in &body.0 {
        encoder.str(key)?;
        encode_item(encoder, item)?;
    }
    Ok(())
}

fn encode_item(encoder: &mut Encoder<Vec<u8>>, item: &Item) -> Written {
    match item {
        Item::Int(i) => encoder.u64(*i)?,
        Item::Bool(b) => encoder.bool(*b)?,
        Item::Text(t) => encoder.str(t)?,
        Item::Bytes(b) => encoder.bytes(b)?,
        Item::Map(body) => return encode_map(encoder, body),
        Item::List(items) => {
            encoder.array(items.len() as u64)?;
            return items.iter().try_for_each(|i| encode_item(encoder, i));
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_body_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Some(body) = Body::decode(&bytes) {
                prop_assert!(body.0.len() <= bytes.len());
            }
        }
    }

    #[test]
    fn a_map_of_unknown_length_is_read() {
        assert_eq!(Body::decode(b"\xbf\x61a\x01\xff").unwrap().int("a"), Some(1));
        assert_eq!(Body::decode(b"\xbf\x61a\x01"), None);
    }
}
