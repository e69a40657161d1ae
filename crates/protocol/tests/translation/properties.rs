//! What must hold of every translation. A property that does not hold panics.

use bytes::Bytes;
use gatepost_protocol::ask::{Ask, InputRequired, canonical, input_answers, input_required, input_responses};
use gatepost_protocol::envelope::{Invalid, Message, Outcome, Request, Response};
use gatepost_protocol::framing::SpliceError;
use gatepost_protocol::json::{self, JsonError, Span, Strictness};
use gatepost_protocol::method::{Method, Target};
use gatepost_protocol::translate::{
    CacheHints, CacheScope, ClientSide, ErrorFacts, InputUp, META_CLIENT_CAPABILITIES, META_CLIENT_INFO,
    META_LOG_LEVEL, META_PROGRESS_TOKEN, META_PROTOCOL_VERSION, META_SERVER_INFO, META_SUBSCRIPTION_ID,
    ResultPlan, ResultProblem, UpCall, client_capabilities_up, error_down, request_up, tool_down,
    unfinished_down,
};
use gatepost_protocol::version::Version;

use crate::messages::{self, CALLS, Dice, LEGACY, PLAIN_CODES};

const MODERN: Version = Version::V2026_07_28;
const CAPABILITIES: &[u8] = br#"{"elicitation":{"form":{},"url":{}},"sampling":{"tools":{}},"roots":{}}"#;
const INFO: &[u8] = br#"{"name":"c","version":"1"}"#;

/// Members of an object in their order: the decoded name and the value's own bytes.
type Listed = Vec<(String, Vec<u8>)>;

// === there and back ===

/// Everything of `eras.md` 11, last row, for the message that `data` makes.
pub(crate) fn there_and_back(data: &[u8]) {
    let mut dice = Dice::new(data);
    let legacy = dice.one_of(&LEGACY);
    let (here, there) = if dice.once_in(2) {
        (MODERN, legacy)
    } else {
        (legacy, MODERN)
    };
    match dice.below(6) {
        0 | 1 => params_come_back(&mut dice, here, there),
        2 => results_come_back(&mut dice, here, there),
        3 => errors_come_back(&mut dice, here, there),
        4 => questions_come_back(&mut dice, here.is_modern()),
        _ => answers_come_back(&mut dice),
    }
}

/// A request of a client at `client`, through a gate to a server at `server`, and through another gate back.
fn params_come_back(dice: &mut Dice<'_>, client: Version, server: Version) {
    let method = dice.one_of(&CALLS);
    let params = messages::params(dice, method, client);
    let sent = request(&messages::message(
        dice,
        "\"a-1\"",
        Some(method.name()),
        Some(("params", params)),
    ));
    let target = method.facts().target.map(Target::param);
    let name = target.and_then(|target| sent.param_text(target));
    let up = |request: &Request, from: Version, to: Version, id: &[u8], name: Option<&str>| {
        let client = ClientSide {
            version: from,
            capabilities: CAPABILITIES,
            info: Some(INFO),
            log_level: Some("info"),
        };
        let call = UpCall {
            version: to,
            id,
            name,
            progress_token: Some(b"77"),
            input: None,
        };
        let out = request_up(request, &client, &call);
        assert_within(out.len(), request.raw().len());
        self::request(std::str::from_utf8(&out).unwrap())
    };
    let there = up(
        &sent,
        client,
        server,
        b"7",
        name.as_ref().map(|_| "the server's \"own\" name"),
    );
    assert_eq!(there.id().bytes(), b"7");
    assert_eq!(there.method(), sent.method());
    let back = up(&there, server, client, sent.id().bytes(), name.as_deref());

    let lost = ["_meta", "task", "inputResponses", "requestState"];
    // A name comes back as it was meant, not as it was spelled.
    let but: Vec<&str> = lost.into_iter().chain(target).collect();
    assert_eq!(
        listed(back.raw(), back.params(), &but),
        listed(sent.raw(), sent.params(), &but)
    );
    assert_eq!(target.and_then(|target| back.param_text(target)), name);
    assert_eq!(back.id().bytes(), sent.id().bytes());
    assert_eq!(back.method(), sent.method());
    let own = [
        META_PROTOCOL_VERSION,
        META_CLIENT_INFO,
        META_CLIENT_CAPABILITIES,
        META_LOG_LEVEL,
        META_PROGRESS_TOKEN,
    ];
    let meta = |request: &Request| {
        let span = request.meta_members().map(json::Members::span);
        listed(request.raw(), span, &own)
    };
    assert_eq!(
        meta(&back),
        meta(&sent),
        "what a vendor says in `_meta` is nobody's to change"
    );
    // What only the other era means by these is not for it to misread.
    for name in ["task", "inputResponses", "requestState"] {
        assert!(there.param(name).is_none(), "{name} went up");
    }
    // A modern server is always told who asks; a legacy one never.
    for hop in [&there, &back] {
        let told = hop.meta(META_PROTOCOL_VERSION).is_some() && hop.meta(META_CLIENT_CAPABILITIES).is_some();
        let modern = std::ptr::eq(hop, &there) == server.is_modern();
        assert_eq!(told, modern);
    }
}

/// A result of a server at `server`, to a client at `client` and from there on to one at `server` again.
fn results_come_back(dice: &mut Dice<'_>, server: Version, client: Version) {
    let method = dice.one_of(&CALLS);
    let result = messages::result(dice, method, server, server.min(client));
    let sent = response(&messages::message(dice, "7", None, Some(("result", result))));
    let never_public = dice.once_in(2);
    let down = |response: &Response, from: Version, to: Version, id: &[u8]| {
        let plan = plan(Some(method), from, to, never_public);
        let whole = plan.apply(response, id).unwrap();
        assert_within(whole.len(), response.raw().len());
        let whole = self::response(std::str::from_utf8(&whole).unwrap());
        assert_eq!(whole.id().map(|id| id.bytes().to_vec()).as_deref(), Some(id));
        let kind = whole
            .result_member("resultType")
            .map(|span| span.of(whole.raw()).to_vec());
        assert_eq!(kind.as_deref(), to.is_modern().then_some(&b"\"complete\""[..]));
        assert_eq!(
            whole.result_member("ttlMs").is_some() && whole.result_member("cacheScope").is_some(),
            to.is_modern() && method.is_cacheable() || kept_as_sent(response, from, to),
        );
        streamed_is_whole(&plan, response, &whole);
        whole
    };
    let back = down(&down(&sent, server, client, b"\"x\""), client, server, b"7");
    assert_eq!(result_but(&back), result_but(&sent));

    let tool = messages::tool(dice);
    let there = tool_down(tool.as_bytes(), server, client).unwrap();
    let back = tool_down(&there, client, server).unwrap();
    let all = |raw: &[u8]| listed(raw, Some(Span::all(raw)), &["execution"]);
    assert_eq!(all(&back), all(tool.as_bytes()));
}

/// Cache fields of a server that need not have them, to a client to which they mean nothing.
fn kept_as_sent(response: &Response, from: Version, to: Version) -> bool {
    let both = response.result_member("ttlMs").is_some() && response.result_member("cacheScope").is_some();
    both && (to.is_modern() || !from.is_modern())
}

/// Streaming a response gives what the whole one gives, but for `_meta` and the cache fields (see `ResultPlan::splicer`).
fn streamed_is_whole(plan: &ResultPlan<'_>, response: &Response, whole: &Response) {
    if !plan.is_streamable() || response.members().named(response.raw(), "id").count() != 1 {
        return;
    }
    let id = whole.id().map(|id| Bytes::copy_from_slice(id.bytes())).unwrap();
    let streamed = stream(plan, id, response.raw()).unwrap();
    let streamed = self::response(std::str::from_utf8(&streamed).unwrap());
    assert_eq!(result_but(&streamed), result_but(whole));
    assert_eq!(
        streamed.id().map(|id| id.bytes().to_vec()),
        whole.id().map(|id| id.bytes().to_vec())
    );
}

fn stream(plan: &ResultPlan<'_>, id: Bytes, raw: &Bytes) -> Result<Vec<u8>, SpliceError> {
    let mut splicer = plan.splicer(id);
    let mut out = Vec::new();
    for start in (0..raw.len()).step_by(37) {
        splicer.feed(&raw.slice(start..raw.len().min(start + 37)), &mut out)?;
    }
    splicer.finish()?;
    Ok(out.concat())
}

/// An error whose code means the same to both eras.
fn errors_come_back(dice: &mut Dice<'_>, server: Version, client: Version) {
    let code = dice.one_of(&PLAIN_CODES);
    let error = messages::error(dice, code);
    let sent = response(&messages::message(dice, "7", None, Some(("error", error))));
    let down = |response: &Response, from: Version, to: Version, id: &[u8]| {
        let facts = ErrorFacts {
            method: Some(Method::ToolsCall),
            uri: None,
            server_name: "s",
            server: from,
            client: to,
            client_capabilities: CAPABILITIES,
        };
        let out = error_down(response, id, &facts);
        let status = if to.is_modern() && code == -32601 {
            404
        } else {
            200
        };
        assert_eq!(out.status, status);
        self::response(std::str::from_utf8(&out.body).unwrap())
    };
    let back = down(&down(&sent, server, client, b"\"x\""), client, server, b"7");
    let error = |response: &Response| match response.outcome() {
        Outcome::Error { span, .. } => span.of(response.raw()).to_vec(),
        Outcome::Result(_) => panic!("an error became a result"),
    };
    assert_eq!(error(&back), error(&sent));
}

/// Questions of a server, put in the other era's way and asked again in the server's own.
fn questions_come_back(dice: &mut Dice<'_>, of_modern: bool) {
    let asked: Vec<(&'static str, Option<String>)> = (0..=dice.below(3))
        .map(|_| messages::question(dice, !of_modern))
        .collect();
    let spelled = dice.string();
    let state = json::text(spelled.as_bytes(), Span::all(spelled.as_bytes()))
        .unwrap_or_default()
        .into_owned();
    // What a server asks: as a legacy request each, or all of them in one unfinished result.
    let asks: Vec<Ask> = asked
        .iter()
        .map(|(method, params)| {
            let params = params.clone().map(|params| ("params", params));
            let text = messages::message(dice, "\"q\"", Some(method), params);
            Ask::of_request(&request(&text)).unwrap()
        })
        .collect();
    let keys: Vec<String> = (0..asks.len())
        .map(|number| format!("ask-{number} \"é\""))
        .collect();
    let put = |asks: &[Ask]| {
        let named = keys.iter().map(String::as_str).zip(asks);
        let out = input_required(b"3", named, &state, Some(INFO));
        let found = InputRequired::of(&response(std::str::from_utf8(&out).unwrap()))
            .unwrap()
            .unwrap();
        assert_eq!(found.state.as_deref(), Some(&*state));
        let (found_keys, found): (Vec<String>, Vec<Ask>) = found.asks.into_iter().unzip();
        assert_eq!(found_keys, keys);
        found
    };
    let again = |asks: Vec<Ask>, minted: Option<&str>| -> Vec<Ask> {
        let ask = |ask: Ask| {
            let out = ask.request(b"9", Version::V2025_11_25, minted).unwrap();
            Ask::of_request(&request(std::str::from_utf8(&out).unwrap())).unwrap()
        };
        asks.into_iter().map(ask).collect()
    };
    let back = if of_modern {
        put(&again(asks.clone(), Some("minted")))
    } else {
        again(put(&asks), None)
    };
    for (back, sent) in back.iter().zip(&asks) {
        assert_eq!(back.kind(), sent.kind());
        let params = |ask: &Ask| {
            let raw = ask.params().cloned().unwrap_or_default();
            listed(&raw, Some(Span::all(&raw)), &["_meta", "elicitationId", "task"])
        };
        assert_eq!(params(back), params(sent));
        let meta = |ask: &Ask| {
            let raw = ask.params().cloned().unwrap_or_default();
            let span = json::object(&raw, Span::all(&raw))
                .ok()
                .and_then(|members| members.get(&raw, "_meta"));
            listed(&raw, span, &[META_PROGRESS_TOKEN])
        };
        assert_eq!(meta(back), meta(sent));
    }
}

/// An answer of a client of either era, as the server of the other gets it, and back.
fn answers_come_back(dice: &mut Dice<'_>) {
    let (method, params) = messages::question(dice, true);
    let text = messages::message(dice, "1", Some(method), params.map(|params| ("params", params)));
    let ask = Ask::of_request(&request(&text)).unwrap();
    let answer = Bytes::from(messages::answer(dice, method));
    assert!(ask.kind().fits(&answer));
    // To a modern server: with the call, made again.
    let keyed = [
        ("k \"é\"".to_owned(), answer.clone()),
        ("other".to_owned(), Bytes::from_static(b"{}")),
    ];
    let responses = input_responses(&keyed);
    let state = dice.string();
    let params = messages::params(dice, Method::ToolsCall, Version::V2025_11_25);
    let call = request(&messages::message(
        dice,
        "1",
        Some("tools/call"),
        Some(("params", params)),
    ));
    let out = request_up(
        &call,
        &ClientSide {
            version: Version::V2025_11_25,
            capabilities: CAPABILITIES,
            info: None,
            log_level: None,
        },
        &UpCall {
            version: MODERN,
            id: b"7",
            name: None,
            progress_token: None,
            input: Some(InputUp {
                responses: Some(&responses),
                state: Some(state.as_bytes()),
            }),
        },
    );
    let retried = request(std::str::from_utf8(&out).unwrap());
    assert_eq!(retried.param_raw("requestState"), Some(state.as_bytes()));
    let (answers, _) = input_answers(&retried).unwrap();
    assert_eq!(answers.as_deref(), Some(&keyed[..]));
    // And to a legacy server: as the response to its request.
    let result = ask.result_for(&answer, Version::V2025_11_25).unwrap();
    let all = |raw: &[u8]| listed(raw, Some(Span::all(raw)), &[]);
    assert_eq!(all(&result), all(&answer));
}

// === whatever comes ===

/// Whatever the bytes are: no translation panics, and what it makes of a message is one, as strict as what came in and not
/// much larger.
pub(crate) fn whatever_comes(choices: &[u8], raw: &Bytes) {
    let mut dice = Dice::new(choices);
    let versions = [MODERN, LEGACY[0], LEGACY[1], LEGACY[2], LEGACY[3]];
    let (client, server) = (dice.one_of(&versions), dice.one_of(&versions));
    let method = CALLS.get(dice.below(CALLS.len() + 1)).copied();
    for strictness in [Strictness::Edge, Strictness::Server] {
        if let Ok(span) = json::validate(raw, strictness) {
            let value = span.of(raw);
            let mut spelled = Vec::new();
            canonical(value, Span::all(value), &mut spelled);
            sound_value(&spelled, value, strictness);
            if let Some(tool) = tool_down(value, server, client) {
                sound_value(&tool, value, strictness);
            }
            sound_value(&client_capabilities_up(value, client, server), value, strictness);
        }
        match Message::parse(raw.clone(), strictness) {
            Ok(Message::Request(request)) => any_request(&mut dice, &request, client, server, strictness),
            Ok(Message::Response(response)) => any_response(&response, method, client, server, strictness),
            Ok(Message::Notification(_)) | Err(_) => {}
        }
    }
}

fn any_request(
    dice: &mut Dice<'_>,
    request: &Request,
    client: Version,
    server: Version,
    strictness: Strictness,
) {
    let raw = request.raw();
    let side = ClientSide {
        version: client,
        capabilities: CAPABILITIES,
        info: Some(INFO),
        log_level: Some("info"),
    };
    let up = UpCall {
        version: server,
        id: b"7",
        name: dice.once_in(2).then_some("n"),
        progress_token: dice.once_in(2).then_some(&b"77"[..]),
        input: dice.once_in(2).then_some(InputUp {
            responses: Some(b"{}"),
            state: None,
        }),
    };
    sound(&request_up(request, &side, &up), raw, strictness);
    let _ = input_answers(request);
    let Ok(ask) = Ask::of_request(request) else {
        return;
    };
    let _ = (
        ask.url(),
        ask.elicitation_id(),
        ask.kind().fits(raw),
        ask.kind().is_declared(raw),
    );
    sound_value(&ask.entry(), raw, strictness);
    sound(
        &input_required(b"1", [("k", &ask)], "s", Some(INFO)),
        raw,
        strictness,
    );
    if let Ok(out) = ask.request(b"9", client, dice.once_in(2).then_some("minted")) {
        sound(&out, raw, strictness);
    }
    if let Some(params) = ask.params()
        && let Ok(out) = ask.result_for(params, server)
    {
        sound_value(&out, raw, strictness);
    }
}

fn any_response(
    response: &Response,
    method: Option<Method>,
    client: Version,
    server: Version,
    strictness: Strictness,
) {
    let raw = response.raw();
    for (never_public, drop_structured) in [(false, false), (true, true)] {
        let plan = ResultPlan {
            drop_structured,
            task_id: drop_structured.then_some(b"\"t\""),
            ..plan(method, server, client, never_public)
        };
        match plan.apply(response, b"\"x\"") {
            Ok(out) => sound(&out, raw, strictness),
            Err(ResultProblem::Unfinished) => assert!(InputRequired::is_in(response)),
            Err(ResultProblem::UnknownResultType(_) | ResultProblem::TaskForLegacy) => {}
        }
        match stream(&plan, Bytes::from_static(b"\"x\""), raw) {
            Ok(out) => sound(&out.into(), raw, strictness),
            // A key or a gap too wide to hold back, or input asked for: nothing is passed on.
            Err(SpliceError::Unwieldy | SpliceError::Unfinished) => {}
            Err(error) => panic!("a response could not be streamed: {error}"),
        }
    }
    sound(
        &unfinished_down(response, b"\"x\"", Some("state")),
        raw,
        strictness,
    );
    if let Some(Ok(unfinished)) = InputRequired::of(response) {
        for (_, ask) in &unfinished.asks {
            if let Ok(out) = ask.request(b"9", client, Some("minted")) {
                sound(&out, raw, strictness);
            }
        }
    }
    let facts = ErrorFacts {
        method,
        uri: Some("a:b"),
        server_name: "s",
        server,
        client,
        client_capabilities: CAPABILITIES,
    };
    sound(&error_down(response, b"\"x\"", &facts).body, raw, strictness);
}

// === what both need ===

fn plan(method: Option<Method>, server: Version, client: Version, never_public: bool) -> ResultPlan<'static> {
    ResultPlan {
        method,
        server,
        client,
        hints: CacheHints {
            ttl_ms: 60_000,
            scope: CacheScope::Private,
            never_public,
        },
        server_info: Some(INFO),
        drop_structured: false,
        task_id: None,
    }
}

/// What came out is a message, read as strictly as what came in.
fn sound(out: &Bytes, from: &[u8], strictness: Strictness) {
    assert_within(out.len(), from.len());
    match Message::parse(out.clone(), strictness) {
        Ok(_) => {}
        Err(error) => assert!(
            matches!(error.reason, Invalid::Json(JsonError::Depth { .. })),
            "{error}\n{}\n{}",
            String::from_utf8_lossy(from),
            String::from_utf8_lossy(out)
        ),
    }
}

fn sound_value(out: &[u8], from: &[u8], strictness: Strictness) {
    assert_within(out.len(), from.len());
    match json::validate(out, strictness) {
        // What is wrapped is nested deeper than it was.
        Ok(_) | Err(JsonError::Depth { .. }) => {}
        Err(error) => panic!(
            "{error}\n{}\n{}",
            String::from_utf8_lossy(from),
            String::from_utf8_lossy(out)
        ),
    }
}

/// Nothing grows without measure: the smallest content block there is becomes a text block that says what it was.
fn assert_within(out: usize, from: usize) {
    assert!(out <= 6 * from + 1024, "{from} bytes became {out}");
}

fn request(text: &str) -> Request {
    match Message::parse(Bytes::copy_from_slice(text.as_bytes()), Strictness::Edge) {
        Ok(Message::Request(request)) => request,
        other => panic!("no request: {other:?}\n{text}"),
    }
}

fn response(text: &str) -> Response {
    match Message::parse(Bytes::copy_from_slice(text.as_bytes()), Strictness::Edge) {
        Ok(Message::Response(response)) => response,
        other => panic!("no response: {other:?}\n{text}"),
    }
}

/// The members of the object at `span` but for those called as in `but`; of anything else none.
fn listed(raw: &[u8], span: Option<Span>, but: &[&str]) -> Listed {
    let members = span
        .and_then(|span| json::object(raw, span).ok())
        .unwrap_or_default();
    members
        .iter()
        .map(|member| {
            let name = json::text(raw, member.key).unwrap_or_default().into_owned();
            (name, member.value.of(raw).to_vec())
        })
        .filter(|(name, _)| !but.contains(&name.as_str()))
        .collect()
}

/// A result without what `eras.md` 7 adds and removes, and its `_meta` likewise.
fn result_but(response: &Response) -> (Listed, Listed) {
    let raw = response.raw();
    let meta = response.result_meta_members().map(json::Members::span);
    (
        listed(
            raw,
            response.result(),
            &["resultType", "ttlMs", "cacheScope", "_meta"],
        ),
        listed(raw, meta, &[META_SERVER_INFO, META_SUBSCRIPTION_ID]),
    )
}
