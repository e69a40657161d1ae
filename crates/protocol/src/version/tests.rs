use bytes::Bytes;

use super::*;
use crate::envelope::{Message, Response};
use crate::json::Strictness;

#[test]
fn versions_are_ordered_and_parsed() {
    for &version in SUPPORTED {
        assert_eq!(Version::parse(version.as_str()), Some(version));
        assert_eq!(version.as_json(), format!("\"{version}\"").as_bytes());
    }
    assert!(SUPPORTED.windows(2).all(|pair| pair[0] > pair[1]));
    assert_eq!(Version::parse("2025-11-25 "), None);
}

#[test]
fn a_handshake_never_yields_a_version_without_one() {
    for (asked, given) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-06-18", "2025-06-18"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
        ("", "2025-11-25"),
    ] {
        assert_eq!(negotiate_initialize(asked).as_str(), given);
    }
    assert_eq!(accept_initialize("2025-03-26"), Some(Version::V2025_03_26));
    assert_eq!(accept_initialize("2026-07-28"), None);
}

#[test]
fn clients_are_told_apart() {
    use ClientEra as E;
    let none = ClientFacts {
        verb: HttpVerb::Post,
        method: Some("tools/list"),
        version_header: None,
        modern_meta: false,
        session: false,
        accepts_events: true,
        old_sse: false,
    };
    let get = ClientFacts {
        verb: HttpVerb::Get,
        method: None,
        ..none
    };
    let delete = ClientFacts {
        verb: HttpVerb::Delete,
        method: None,
        ..none
    };
    let initialize = ClientFacts {
        method: Some("initialize"),
        ..none
    };
    for (facts, era) in [
        (
            ClientFacts {
                modern_meta: true,
                ..none
            },
            E::Modern,
        ),
        (
            ClientFacts {
                modern_meta: true,
                session: true,
                ..none
            },
            E::Modern,
        ),
        (
            ClientFacts {
                modern_meta: true,
                ..initialize
            },
            E::Modern,
        ),
        (
            ClientFacts {
                version_header: Some("2026-07-28"),
                ..none
            },
            E::Modern,
        ),
        (
            ClientFacts {
                version_header: Some("2031-01-01"),
                session: true,
                ..none
            },
            E::Modern,
        ),
        (
            ClientFacts {
                version_header: Some("2025-06-18"),
                ..none
            },
            E::Homeless,
        ),
        (
            ClientFacts {
                version_header: Some("2025-06-18"),
                session: true,
                ..none
            },
            E::Session,
        ),
        (initialize, E::Handshake),
        (
            ClientFacts {
                session: true,
                ..initialize
            },
            E::Handshake,
        ),
        (
            ClientFacts {
                method: None,
                session: true,
                ..none
            },
            E::Session,
        ),
        (none, E::Homeless),
        (get, E::NotAllowed),
        (ClientFacts { session: true, ..get }, E::SessionStream),
        (ClientFacts { old_sse: true, ..get }, E::OldSse),
        (
            ClientFacts {
                old_sse: true,
                accepts_events: false,
                ..get
            },
            E::NotAllowed,
        ),
        (delete, E::NotAllowed),
        (
            ClientFacts {
                session: true,
                ..delete
            },
            E::SessionEnd,
        ),
        (
            ClientFacts {
                verb: HttpVerb::Other,
                session: true,
                ..none
            },
            E::NotAllowed,
        ),
    ] {
        assert_eq!(E::classify(&facts), era, "{facts:?}");
    }
}

fn response(raw: &str) -> Response {
    match Message::parse(Bytes::copy_from_slice(raw.as_bytes()), Strictness::Server) {
        Ok(Message::Response(response)) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn servers_are_told_apart() {
    use ProbeVerdict as V;
    let modern = || V::Modern([Version::V2026_07_28].into_iter().collect());
    let unlisted = || V::Modern(Default::default());
    let result =
        |versions: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"supportedVersions":{versions}}}}}"#);
    let error = |code: i64, data: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"code":{code},"message":"m","data":{data}}}}}"#)
    };
    for (status, body, verdict) in [
        (
            Some(200),
            Some(result(r#"["2026-07-28","2025-11-25"]"#)),
            modern(),
        ),
        (None, Some(result(r#"["2026-07-28"]"#)), modern()),
        (
            Some(200),
            Some(result(r#"["2025-06-18","2025-11-25"]"#)),
            V::Legacy(Version::V2025_11_25),
        ),
        (
            Some(200),
            Some(result(r#"["2030-01-01"]"#)),
            V::NoCommon {
                theirs: vec!["2030-01-01".into()],
            },
        ),
        (Some(200), Some(result("7")), V::TryInitialize),
        (
            Some(400),
            Some(error(-32022, r#"{"supported":["2026-07-28"],"requested":"x"}"#)),
            modern(),
        ),
        (
            Some(500),
            Some(error(-32022, r#"{"supported":["2025-11-25"]}"#)),
            V::InitializeAt(Version::V2025_11_25),
        ),
        (
            Some(400),
            Some(error(-32022, r#"{"supported":["2031-01-01"]}"#)),
            V::NoCommon {
                theirs: vec!["2031-01-01".into()],
            },
        ),
        (Some(400), Some(error(-32022, "{}")), V::TryInitialize),
        (
            Some(400),
            Some(error(-32021, r#"{"requiredCapabilities":{"roots":{}}}"#)),
            unlisted(),
        ),
        (Some(400), Some(error(-32021, "null")), V::TryInitialize),
        (Some(400), Some(error(-32020, "null")), unlisted()),
        (Some(200), Some(error(-32601, "null")), V::TryInitialize),
        (None, Some(error(-32601, "null")), V::TryInitialize),
        (Some(400), Some(error(-32000, "null")), V::TryInitialize),
        (Some(404), None, V::TryInitialize),
        (Some(405), None, V::TryInitialize),
        (Some(200), None, V::TryInitialize),
    ] {
        let response = body.as_deref().map(response);
        assert_eq!(
            classify_probe(ProbeReply {
                status,
                response: response.as_ref()
            }),
            verdict,
            "{status:?} {body:?}"
        );
    }
    for status in [401, 403, 407, 408, 429, 500, 502, 503, 599] {
        let verdict = classify_probe(ProbeReply {
            status: Some(status),
            response: None,
        });
        assert!(matches!(verdict, V::Inconclusive(_)), "{status}");
    }
}
