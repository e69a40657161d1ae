use proptest::prelude::*;

use super::*;

fn head(input: &[u8]) -> Head<'_> {
    parse_head(input).unwrap().expect("a whole head")
}

/// What the status line and `fields` say of the body, and whether the connection can be used again.
fn framing(fields: &str) -> Result<(Framing, bool), BadResponse> {
    let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    parse_head(text.as_bytes()).map(|head| {
        let head = head.unwrap();
        (head.framing, head.reusable)
    })
}

#[test]
fn heads_are_read_however_they_arrive() {
    let text = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nKEEP-ALIVE: timeout=5, max=9\r\n\
        mcp-session-id: s1\r\nlocation: /x\r\ncontent-length: 7\r\n\r\nand more";
    let length = text.len() - b"and more".len();
    for end in 0..length {
        assert_eq!(parse_head(&text[..end]), Ok(None), "{end}");
    }
    let expected = Head {
        status: 200,
        length,
        framing: Framing::Length(7),
        reusable: true,
        keep_alive: Some(5),
        content_type: Some(b"application/json"),
        location: Some(b"/x"),
        session_id: Some(b"s1"),
    };
    assert_eq!(parse_head(&text[..length]), Ok(Some(expected.clone())));
    assert_eq!(parse_head(text), Ok(Some(expected)));
}

#[test]
fn the_end_of_a_body_is_told_one_way_or_not_at_all() {
    use Framing::{Chunked, Length, UntilClose};
    let check = |fields: &str, expected| assert_eq!(framing(fields), expected, "{fields}");
    check("content-length: 5\r\n", Ok((Length(5), true)));
    check(
        "content-length: 5\r\ncontent-length: 5\r\n",
        Ok((Length(5), true)),
    );
    check("content-length: 5, 5\r\n", Ok((Length(5), true)));
    check("transfer-encoding: Chunked\r\n", Ok((Chunked, true)));
    check("", Ok((UntilClose, false)));
    // Both: the coding wins, and the connection is not trusted any further.
    check(
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        Ok((Chunked, false)),
    );
    check(
        "content-length: 5\r\nconnection: close\r\n",
        Ok((Length(5), false)),
    );
    check(
        "content-length: 5\r\nconnection: x, Close\r\n",
        Ok((Length(5), false)),
    );
    for fields in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content-length: \r\n",
        "content-length: +5\r\n",
        "content-length: -5\r\n",
        "content-length: 5x\r\n",
        "content-length: 0x5\r\n",
        "content-length: 5,\r\n",
        "content-length: 18446744073709551616\r\n",
    ] {
        check(fields, Err(BadResponse::ContentLength));
    }
    for fields in [
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: \r\n",
    ] {
        check(fields, Err(BadResponse::TransferEncoding));
    }
}

#[test]
fn some_answers_have_no_body_whatever_they_say() {
    for status in [100, 103, 204, 304] {
        let text = format!("HTTP/1.1 {status} x\r\ncontent-length: 5\r\n\r\n");
        assert_eq!(head(text.as_bytes()).framing, Framing::Length(0), "{status}");
    }
    assert!(!head(b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n").reusable);
    assert!(head(b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n").reusable);
    assert_eq!(
        parse_head(b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        Err(BadResponse::TransferEncoding)
    );
}

#[test]
fn hostile_heads_are_refused() {
    let refused = |input: &[u8]| {
        assert!(
            matches!(parse_head(input), Err(BadResponse::Syntax(_))),
            "{}",
            String::from_utf8_lossy(input)
        );
    };
    refused(b"HTTP/1.1 200 OK\r\nx: a\r\n folded: b\r\n\r\n");
    refused(b"HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\n");
    refused(b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n");
    refused(b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n");
    refused(b"HTTP/2.0 200 OK\r\n\r\n");
    refused(b"HTTP/1.1 20 OK\r\n\r\n");
    refused(b"HTTP/1.1 099 OK\r\n\r\n");
    refused(b"HTTP/1.1 600 OK\r\n\r\n");
    refused(b"SSH-2.0-x\r\n");
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS + 1));
    assert_eq!(parse_head(many.as_bytes()), Err(BadResponse::TooManyFields));
    let enough = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_FIELDS));
    assert_eq!(head(enough.as_bytes()).length, enough.len());
    let endless = format!("HTTP/1.1 200 OK\r\na: {}", "b".repeat(MAX_HEAD));
    assert_eq!(parse_head(endless.as_bytes()), Err(BadResponse::HeadTooLarge));
}

/// The body that arrives in `parts`, whether it came to its end, and what was left over.
fn body<'a>(
    framing: Framing,
    parts: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(Vec<u8>, bool, Vec<u8>), BadResponse> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut input, mut out) = (BytesMut::new(), Vec::new());
    for part in parts {
        input.extend_from_slice(part);
        while let Piece::Data(data) = decoder.next(&mut input)? {
            assert!(!data.is_empty());
            out.extend_from_slice(&data);
        }
    }
    Ok((out, decoder.may_end(), input.to_vec()))
}

#[test]
fn bodies_end_where_they_should() {
    let check = |framing, input: &[u8], expected: &[u8], ended: bool, rest: &[u8]| {
        let expected = Ok((expected.to_vec(), ended, rest.to_vec()));
        assert_eq!(body(framing, [input]), expected);
        assert_eq!(body(framing, input.chunks(1)), expected);
    };
    use Framing::{Chunked, Length, UntilClose};
    check(Length(3), b"abcd", b"abc", true, b"d");
    check(Length(3), b"ab", b"ab", false, b"");
    check(Length(0), b"x", b"", true, b"x");
    check(UntilClose, b"abc", b"abc", true, b"");
    check(Chunked, b"2\r\nab\r\n0\r\n\r\nx", b"ab", true, b"x");
    check(Chunked, b"2\r\nab\r\n0\r\n", b"ab", false, b"");
    check(Chunked, b"002 \r\nab\r\n00\r\n\r\n", b"ab", true, b"");
    check(
        Chunked,
        b"A;a=\"b\";c\r\n0123456789\r\n1\r\nx\r\n0;z\r\nTrailer: 1\r\nOther: 2\r\n\r\nnext",
        b"0123456789x",
        true,
        b"next",
    );
}

#[test]
fn the_end_is_taken_with_the_last_piece() {
    let mut decoder = BodyDecoder::new(Framing::Chunked);
    let mut input = BytesMut::from(&b"2\r\nok\r\n0\r\n\r\n"[..]);
    assert_eq!(
        decoder.next(&mut input),
        Ok(Piece::Data(Bytes::from_static(b"ok")))
    );
    assert!(decoder.is_done() && input.is_empty());
}

#[test]
fn chunks_that_are_none_are_refused() {
    let check = |input: &[u8], expected| {
        assert_eq!(body(Framing::Chunked, [input]), Err(expected));
        assert_eq!(body(Framing::Chunked, input.chunks(1)), Err(expected));
    };
    for input in [
        &b"\r\n"[..],
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b";a\r\n",
        b"1\nab",
        b"1\r\r",
        b"1;a\nb",
        b"1\r\nab\r\n",
        b"1\r\na\n",
        b"1\r\na\r0",
        b"10000000000000000\r\n",
        b"0\r\n\n",
        b"0\r\na: b\n",
        b"0\r\na: b\rc",
        b"0\r\n\rx",
    ] {
        check(input, BadResponse::Chunk);
    }
    check(
        format!("1;{}", "x".repeat(MAX_EXTENSION + 1)).as_bytes(),
        BadResponse::TrailersTooLarge,
    );
    check(
        format!("0\r\n{}", "a: b\r\n".repeat(MAX_HEAD)).as_bytes(),
        BadResponse::TrailersTooLarge,
    );
    assert_eq!(
        body(Framing::Chunked, [&b"ffffffffffffffff\r\nab"[..]]),
        Ok((b"ab".to_vec(), false, Vec::new()))
    );
}

proptest! {
    #[test]
    fn a_chunked_body_does_not_depend_on_how_it_arrives(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
        extension in "(;[a-z]{0,5})?",
        sizes in prop::collection::vec(1usize..20, 0..60),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            wire.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\nt: v\r\n\r\nrest");
        let parts = crate::framing::cut(&wire, &sizes);
        let expected = Ok((chunks.concat(), true, b"rest".to_vec()));
        prop_assert_eq!(body(Framing::Chunked, parts), expected);
    }

    #[test]
    fn arbitrary_bytes_mean_the_same_however_they_arrive(
        wire in prop::collection::vec(prop::sample::select(&b"012aF;\r\nx"[..]), 0..60),
        sizes in prop::collection::vec(1usize..9, 0..30),
    ) {
        let whole = body(Framing::Chunked, [&wire[..]]);
        prop_assert_eq!(body(Framing::Chunked, crate::framing::cut(&wire, &sizes)), whole);
    }
}
