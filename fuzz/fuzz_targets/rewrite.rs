//! Any request: after edits it is still the message it was, but for the edits.
#![no_main]

use bytes::Bytes;
use gatepost_protocol::envelope::Message;
use gatepost_protocol::json::Strictness;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let raw = Bytes::copy_from_slice(data);
    let Ok(Message::Request(request)) = Message::parse(raw.clone(), Strictness::Edge) else {
        return;
    };
    assert_eq!(request.rewrite().finish(), raw);
    let mut edits = request.rewrite();
    edits
        .id(&b"7"[..])
        .param_text("name", "n")
        .remove_param("task")
        .meta("k", &b"{}"[..])
        .remove_meta("progressToken");
    let Ok(Message::Request(edited)) = Message::parse(edits.finish(), Strictness::Edge) else {
        panic!("an edited request is no request");
    };
    assert_eq!(edited.id().as_u64(), Some(7));
    assert_eq!(edited.method(), request.method());
    assert_eq!(edited.param_text("name").as_deref(), Some("n"));
    assert_eq!(edited.meta_raw("k"), Some(&b"{}"[..]));
    assert!(edited.param("task").is_none() && edited.meta("progressToken").is_none());
    assert_eq!(edited.param_raw("arguments"), request.param_raw("arguments"));
});
