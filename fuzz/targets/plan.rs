//! Any bytes are a plan whose id covers it, or refused.
#![no_main]

use aseptic_patches::Plan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(plan) = serde_json::from_slice::<Plan>(bytes) {
        let _ = plan.check();
    }
});
