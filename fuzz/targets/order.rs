//! Any bytes are no valid order: nobody's key signed them.
#![no_main]

use aseptic_operators::SignerKey;
use aseptic_operators::order::SignedOrder;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|parts: (&str, &[u8])| {
    let keys: Vec<SignerKey> = SignerKey::parse("fuzz", parts.0).into_iter().collect();
    assert!(SignedOrder::verify(parts.1, &keys, "hospital").is_err());
});
