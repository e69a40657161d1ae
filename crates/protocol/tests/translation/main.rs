//! Translation there and back gives what went in, on the subset that `docs/eras.md` 11 names, and whatever comes in, what
//! goes out is a message. `fuzz/fuzz_targets/translate.rs` checks the same properties for as long as it is let.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "this is how a property that does not hold is seen"
)]

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, test_runner::RngSeed};

mod messages;
mod properties;

/// The same cases on every run; other ones are the fuzzer's business.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(20_260_728),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(4000))]

    #[test]
    fn what_is_translated_there_and_back_is_what_went_in(data in vec(any::<u8>(), 0..600)) {
        properties::there_and_back(&data);
    }

    #[test]
    fn whatever_comes_is_translated_into_a_message_or_refused(
        choices in vec(any::<u8>(), 8),
        data in vec(any::<u8>(), 0..600),
        bent in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut raw = messages::hostile(&data).into_bytes();
        for (place, byte) in bent {
            let place = place.index(raw.len());
            raw[place] = byte;
        }
        properties::whatever_comes(&choices, &Bytes::from(raw));
    }
}
