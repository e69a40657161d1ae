//! Any body in any chunks: what comes out does not depend on where chunks end, and for a response it is what the
//! whole-message rewrite makes.
#![no_main]

use bytes::Bytes;
use gatepost_protocol::envelope::Message;
use gatepost_protocol::framing::{IdSplicer, SpliceEdits, SpliceError};
use gatepost_protocol::json::Strictness;
use libfuzzer_sys::fuzz_target;

const REMOVE: &[&str] = &["resultType", "ttlMs"];

fn edits() -> SpliceEdits {
    SpliceEdits {
        id: Some(Bytes::from_static(b"\"new\"")),
        remove: REMOVE,
        add: [("a", Bytes::from_static(b"[1]"))].into_iter().collect(),
        ..SpliceEdits::default()
    }
}

fn splice<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, SpliceError> {
    let mut splicer = IdSplicer::new(edits());
    let mut out = Vec::new();
    for chunk in chunks {
        splicer.feed(&Bytes::copy_from_slice(chunk), &mut out)?;
    }
    splicer.finish()?;
    Ok(out.concat())
}

fuzz_target!(|data: &[u8]| {
    let Some((&size, body)) = data.split_first() else {
        return;
    };
    let whole = splice(std::iter::once(body));
    assert_eq!(whole, splice(body.chunks(usize::from(size % 16) + 1)));
    let Ok(Message::Response(response)) = Message::parse(Bytes::copy_from_slice(body), Strictness::Edge)
    else {
        return;
    };
    if response.members().get(body, "id").is_none() {
        return;
    }
    let mut rewrite = response.rewrite();
    rewrite.id(&b"\"new\""[..]);
    for name in REMOVE {
        rewrite.remove_result_member(name);
    }
    if response.result_member("a").is_none() {
        rewrite.result_member("a", &b"[1]"[..]);
    }
    assert_eq!(whole.as_deref(), Ok(&rewrite.finish()[..]));
});
