//! Messages between eras, with the properties of `crates/protocol/tests/translation`: honest ones come back as they went, and
//! of hostile ones, and of any bytes at all, nothing is made but messages.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/protocol/tests/translation/messages.rs"]
mod messages;
#[path = "../../crates/protocol/tests/translation/properties.rs"]
mod properties;

fuzz_target!(|data: &[u8]| {
    let Some((&way, data)) = data.split_first() else {
        return;
    };
    let (choices, rest) = data.split_at(data.len().min(8));
    match way % 3 {
        0 => properties::there_and_back(data),
        1 => properties::whatever_comes(choices, &Bytes::from(messages::hostile(rest))),
        _ => properties::whatever_comes(choices, &Bytes::copy_from_slice(rest)),
    }
});
