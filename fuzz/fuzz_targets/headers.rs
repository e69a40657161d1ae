//! Any schema, arguments and header value: nothing panics, what is emitted validates, what is encoded decodes.
#![no_main]

use std::collections::HashMap;

use gatepost_protocol::headers::{HeaderParams, Sent, decode_value, encode_value};
use gatepost_protocol::json::{Strictness, validate};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = decode_value(data);
    if let Ok(text) = std::str::from_utf8(data) {
        assert_eq!(decode_value(encode_value(text).as_bytes()).as_deref(), Ok(text));
    }
    let mut parts = data.splitn(3, |&byte| byte == 0);
    let (Some(schema), Some(arguments), Some(value)) = (parts.next(), parts.next(), parts.next()) else {
        return;
    };
    let Ok(Some(params)) = HeaderParams::compile(schema) else {
        return;
    };
    if validate(arguments, Strictness::Edge).is_err() {
        return;
    }
    let _ = params.validate(Some(arguments), |_| Sent::Once(value));
    let mut headers = HashMap::new();
    params.emit(Some(arguments), |name, value| {
        headers.insert(name.to_owned(), value.to_owned());
    });
    let agreed = params.validate(Some(arguments), |name| {
        headers
            .get(name)
            .map_or(Sent::Absent, |value| Sent::Once(value.as_bytes()))
    });
    if let Err(mismatch) = agreed {
        // Half a surrogate pair is no text, so such an argument cannot be mirrored.
        assert!(
            arguments
                .windows(3)
                .any(|escape| escape.eq_ignore_ascii_case(b"\\ud")),
            "{mismatch}"
        );
    }
});
