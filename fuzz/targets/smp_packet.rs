//! Any bytes are a packet or refused; a packet survives being written and read.
#![no_main]

use aseptic_drivers::smp::packet::Packet;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(packet) = Packet::decode(bytes)
        && let Ok(written) = packet.encode()
    {
        let again = Packet::decode(&written).expect("what was written must read");
        assert_eq!((again.group, again.command, again.sequence), (packet.group, packet.command, packet.sequence));
    }
});
