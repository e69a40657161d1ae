//! Any bytes: nothing panics, what is accepted is JSON to serde_json too, and spans stay within the message.
#![no_main]

use bytes::Bytes;
use gatepost_protocol::envelope::{Batch, Message};
use gatepost_protocol::json::{self, Strictness};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let raw = Bytes::copy_from_slice(data);
    let is_json = std::str::from_utf8(data)
        .is_ok_and(|text| serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok());
    for strictness in [Strictness::Edge, Strictness::Server] {
        if let Ok(span) = json::validate(data, strictness) {
            // serde_json stops at 128 levels.
            assert!(
                is_json || strictness == Strictness::Server,
                "accepted what is no JSON"
            );
            let _ = json::object(data, span);
            let _ = json::items(data, span).count();
            let _ = json::text(data, span);
        } else if strictness == Strictness::Server && is_json {
            panic!("refused JSON");
        }
        let _ = Batch::split(&raw, strictness);
        match Message::parse(raw.clone(), strictness) {
            Ok(Message::Request(request)) => {
                assert!(!request.id().bytes().is_empty());
                let _ = (
                    request.method(),
                    request.known_method(),
                    request.param_text("name"),
                    request.meta_text("a"),
                );
                let _ = request.id().to_id();
            }
            Ok(Message::Notification(notification)) => {
                let _ = notification.param("x");
            }
            Ok(Message::Response(response)) => {
                let _ = (response.result_members(), response.error_message());
            }
            Err(error) => {
                serde_json::from_slice::<serde_json::Value>(&error.response())
                    .expect("an error response is JSON");
            }
        }
    }
});
