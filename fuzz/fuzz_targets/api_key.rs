//! Any text as an API key: nothing panics, what passes has the form of a key and shows no secret, and no key that was changed on
//! the way passes.
#![no_main]

use std::sync::LazyLock;

use gatepost_store::{ApiKey, KEY_PREFIX, Presented, Unreadable};
use libfuzzer_sys::fuzz_target;

/// Characters of the checksum at a key's end.
const CHECKSUM: usize = 6;

static KEY: LazyLock<ApiKey> = LazyLock::new(|| ApiKey::generate().expect("random bytes"));

fn parse(text: &str) {
    match Presented::parse(text) {
        Ok(presented) => {
            assert_eq!(text.len(), KEY.expose().len());
            assert!(text.starts_with(KEY_PREFIX) && text.is_ascii());
            let shown = format!("{presented:?}");
            assert!(shown.contains(presented.id()) && shown.len() < text.len());
            assert!(presented.hash().matches(&presented.hash()));
        }
        Err(Unreadable::Foreign) => assert!(!text.starts_with(KEY_PREFIX)),
        Err(Unreadable::Malformed) => assert!(text.starts_with(KEY_PREFIX)),
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    parse(text);
    parse(&format!("{KEY_PREFIX}{text}"));
    // A real one with the input in the place of some of its characters.
    let key = KEY.expose();
    assert!(Presented::parse(key).is_ok());
    let at = data.len() * 7 % key.len();
    let end = (at + text.len()).min(key.len());
    let changed = format!("{}{text}{}", &key[..at], &key[end..]);
    parse(&changed);
    // A checksum of 32 bits notices every change of at most four characters beside each other, and of its own.
    let seam = key.len() - CHECKSUM;
    if text.len() <= 4 && (end <= seam || at >= seam) && changed != key {
        assert!(Presented::parse(&changed).is_err());
    }
});
