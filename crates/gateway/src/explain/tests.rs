//! An explanation is worth nothing unless it is what happens: over generated configurations, callers and calls, what
//! `Gate::explain` says is compared with what the path answers, with what reaches a server, and with every list.

mod world;

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::StreamExt;
use gatepost_process::Supervisor;
use gatepost_protocol::{headers, version::Era};
use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::{Value, json};

use super::*;
use crate::{
    Module,
    answer::Answer,
    authorize::now,
    identify,
    inbound::{Arrival, Carrier, RequestId},
    path,
    refusal::Refusal,
    respond::{self, About},
    rig::META,
};
use world::{Call, ENDPOINTS, Heard, Kind as What, Shop, World, every_name, lists, worlds};

/// So many configurations, and so many calls through each.
const CONFIGURATIONS: u32 = 500;
const CALLS: usize = 20;

/// How often each verdict was given and borne out.
type Tally = HashMap<&'static str, usize>;

#[test]
fn what_is_explained_is_what_happens() {
    let data = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let config = Config {
        cases: CONFIGURATIONS,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let tally = std::cell::RefCell::new(Tally::new());
    let outcome = TestRunner::new_with_rng(config, rng).run(&worlds(CALLS), |world| {
        let judged = runtime.block_on(borne_out(data.path(), &world));
        for verdict in judged.map_err(TestCaseError::fail)? {
            *tally.borrow_mut().entry(verdict).or_default() += 1;
        }
        Ok(())
    });
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
    let tally = tally.into_inner();
    assert_eq!(tally.values().sum::<usize>(), CONFIGURATIONS as usize * CALLS);
    // Nothing is proved by calls that are all answered alike.
    for verdict in [
        Verdict::NoEndpoint,
        Verdict::EndpointHidden,
        Verdict::Unknown,
        Verdict::Hidden,
        Verdict::Denied,
        Verdict::NeedsScopes,
        Verdict::Allowed,
    ] {
        let times = tally.get(verdict.as_str()).copied().unwrap_or_default();
        assert!(times >= 100, "{verdict} only {times} times: {tally:?}");
    }
}

/// The verdicts of all calls, each of which is what the call was answered with.
async fn borne_out(data: &Path, world: &World) -> Result<Vec<&'static str>, String> {
    let place = Place::new(data, world).await?;
    let mut verdicts = Vec::new();
    let mut asked = BTreeSet::new();
    let mut outcome = Ok(());
    for call in &world.calls {
        let checked = place.call(call).await;
        match checked {
            Ok(verdict) => verdicts.push(verdict.as_str()),
            Err(why) => {
                outcome = Err(format!("{why}\n{call:?}\n{:?}", world.callers[call.caller]));
                break;
            }
        }
        asked.insert((call.caller, call.endpoint));
    }
    for (caller, endpoint) in asked {
        if outcome.is_ok() {
            outcome = place.lists(caller, endpoint).await.map_err(|why| {
                format!(
                    "{why}\nin the lists of /mcp/{endpoint} for {:?}",
                    world.callers[caller]
                )
            });
        }
    }
    place.gate.close(Duration::ZERO).await;
    outcome.map(|()| verdicts)
}

struct Place<'a> {
    gate: Arc<Gate>,
    heard: Heard,
    world: &'a World,
}

/// What somebody was told.
struct Told {
    status: u16,
    body: Bytes,
    message: Value,
    session: Option<String>,
}

impl<'a> Place<'a> {
    /// A gate that knows its servers' lists.
    async fn new(data: &Path, world: &'a World) -> Result<Self, String> {
        let mut config: Value = serde_json::from_str(&world.yaml).unwrap();
        config["data_dir"] = data.to_str().unwrap().into();
        let heard = Heard::default();
        let shop = Arc::clone(&heard);
        let modules = move |name: &str, _: &serde_json::Map<String, Value>| {
            let (name, heard) = (name.to_owned(), Arc::clone(&shop));
            Ok(Arc::new(Shop { name, heard }) as Arc<dyn Module>)
        };
        let config = config.to_string().parse();
        let config = config.map_err(|problems| format!("the test is wrong: {problems}"))?;
        let gate = Gate::build(config, data, &modules, Supervisor::none()).unwrap();
        for endpoint in ENDPOINTS {
            let question = Question {
                who: None,
                endpoint,
                thing: Thing::Tool(""),
                arguments: b"",
                now: now(),
            };
            let unseen = gate.look_around(&question, Duration::from_secs(5)).await;
            assert_eq!(unseen, []);
        }
        Ok(Self { gate, heard, world })
    }

    fn question<'q>(&'q self, caller: usize, endpoint: &'q str, what: What, name: &'q str) -> Question<'q> {
        Question {
            who: self.world.callers[caller].as_ref(),
            endpoint,
            thing: match what {
                What::Tool => Thing::Tool(name),
                What::Prompt => Thing::Prompt(name),
                What::Resource => Thing::Resource(name),
            },
            arguments: b"",
            now: now(),
        }
    }

    /// Explains a call, makes it, and compares.
    async fn call(&self, call: &Call) -> Result<Verdict, String> {
        let explained = self.gate.explain(&Question {
            arguments: call.arguments.as_bytes(),
            ..self.question(call.caller, call.endpoint, call.kind, &call.name)
        });
        let verdict = explained.verdict;
        self.heard.lock().unwrap().clear();
        let told = match self.make(call).await {
            Ok(told) => told,
            // Nothing that begins with the endpoint gets any further.
            Err(told) => {
                let wanted = matches!(verdict, Verdict::NoEndpoint | Verdict::EndpointHidden);
                let path = self.path(call.endpoint);
                let about = About::default();
                let (status, body) = respond::render(&Refusal::NoEndpoint(path), &about);
                return match wanted && told.status == status.as_u16() && told.body == body {
                    true => Ok(verdict),
                    false => Err(format!("explained {explained:?}, and was told {told:?}")),
                };
            }
        };
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        match self.differs(call, &explained, &told, &heard) {
            false => Ok(verdict),
            true => Err(format!(
                "explained {explained:#?}, and was told {told:?}; servers heard {heard:?}"
            )),
        }
    }

    fn differs(
        &self,
        call: &Call,
        explained: &Explained,
        told: &Told,
        heard: &[(String, String, String)],
    ) -> bool {
        let winner = explained.found.iter().find(|found| found.shown);
        let decision = winner.map(|found| &found.explanation.decision);
        let text = &told.message["result"]["content"][0]["text"];
        let error = &told.message["error"];
        let said = match (explained.verdict, decision) {
            (Verdict::Allowed, Some(_)) => {
                told.status == 200 && told.message["result"].is_object() && *text != json!(null)
                    || call.kind != What::Tool && told.message["result"].is_object()
            }
            (Verdict::Denied, Some(Decision::Deny(reason))) => {
                let words = json!(format!(
                    "{reason}; other arguments, or another time, may be allowed"
                ));
                let as_result = *text == words && told.message["result"]["isError"] == true;
                let as_error = error["message"] == words && error["code"] == -32602;
                told.status == 200
                    && if call.kind == What::Tool {
                        as_result
                    } else {
                        as_error
                    }
            }
            (Verdict::NeedsScopes, Some(Decision::NeedsScopes(scopes))) => {
                told.status == 403 && error["data"]["scopes"] == json!(scopes.needed())
            }
            // The same to the byte, whether a server has it or not.
            (Verdict::Hidden | Verdict::Unknown, None) => {
                let name = call.name.clone();
                let refusal = match call.kind {
                    What::Tool => Refusal::UnknownName { kind: "tool", name },
                    What::Prompt => Refusal::UnknownName { kind: "prompt", name },
                    What::Resource => Refusal::UnknownResource(name),
                };
                let about = About {
                    id: Some(Bytes::from_static(b"\"m\"")),
                    era: Some(if call.legacy { Era::Legacy } else { Era::Modern }),
                };
                let (status, body) = respond::render(&refusal, &about);
                told.status == status.as_u16() && told.body == body
            }
            _ => false,
        };
        let reached = match (explained.verdict, winner) {
            (Verdict::Allowed, Some(found)) => {
                let [method, ..] = call.kind.words();
                vec![(
                    found.server.to_string(),
                    method.to_owned(),
                    found.original.to_string(),
                )]
            }
            _ => Vec::new(),
        };
        !said || reached != heard
    }

    /// Every list that this caller gets holds exactly what is explained to be shown.
    async fn lists(&self, caller: usize, endpoint: &'static str) -> Result<(), String> {
        for what in What::ALL {
            let [_, _, method, member, key] = what.words();
            let Ok(told) = self.modern(caller, endpoint, method, None, "").await else {
                return Ok(());
            };
            let items = told.message["result"][member].as_array();
            let listed: BTreeSet<&str> = items
                .ok_or_else(|| format!("no list: {told:?}"))?
                .iter()
                .filter_map(|item| item[key].as_str())
                .collect();
            let mut explained = BTreeSet::new();
            let names = every_name(what);
            for name in &names {
                let found = self
                    .gate
                    .explain(&self.question(caller, endpoint, what, name))
                    .found;
                let shown = found.iter().find(|found| found.shown);
                // A server may be asked for more resources than it lists.
                if shown.is_some_and(|found| what != What::Resource || lists(&found.server, name)) {
                    explained.insert(&**name);
                }
            }
            let offered = self.gate.shown(&self.question(caller, endpoint, what, ""));
            let offered: BTreeSet<&str> = offered.iter().map(String::as_str).collect();
            if listed != explained || listed != offered {
                return Err(format!(
                    "{method}: listed {listed:?}, explained {explained:?}, offered {offered:?}"
                ));
            }
        }
        Ok(())
    }

    async fn make(&self, call: &Call) -> Result<Told, Told> {
        let [method, param, ..] = call.kind.words();
        // Numbers and escapes arrive as they were written.
        let mut params = format!(r#""{param}":{},"#, json!(call.name));
        if !call.arguments.is_empty() {
            params.push_str(&format!(r#""arguments":{},"#, call.arguments));
        }
        let (caller, endpoint) = (call.caller, call.endpoint);
        if !call.legacy {
            return self
                .modern(caller, endpoint, method, Some(&call.name), &params)
                .await;
        }
        let client =
            r#""protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}"#;
        let begun = self.post(caller, endpoint, &[], "initialize", client).await?;
        let headers = [("mcp-session-id", &*begun.session.unwrap_or_default())];
        let params = params.trim_end_matches(',');
        self.post(caller, endpoint, &headers, method, params).await
    }

    /// A request of 2026-07-28; `params` are its members, each with a comma after it. `Err`: it was refused before anything
    /// of it was read.
    async fn modern(
        &self,
        caller: usize,
        endpoint: &'static str,
        method: &str,
        name: Option<&str>,
        params: &str,
    ) -> Result<Told, Told> {
        let name = name.map(headers::encode_value);
        let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        headers.extend(name.as_deref().map(|name| ("mcp-name", name)));
        let params = format!(r#"{params}"_meta":{{{META}}}"#);
        self.post(caller, endpoint, &headers, method, &params).await
    }

    async fn post(
        &self,
        caller: usize,
        endpoint: &'static str,
        headers: &[(&str, &str)],
        method: &str,
        params: &str,
    ) -> Result<Told, Told> {
        let gate = &self.gate;
        let Some(place) = gate.endpoint(endpoint) else {
            return Err(unread(&Refusal::NoEndpoint(self.path(endpoint))).await);
        };
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                let name = HeaderName::try_from(*name).unwrap();
                (name, HeaderValue::try_from(*value).unwrap())
            })
            .collect();
        let arrival = Arrival {
            endpoint: place,
            headers,
            address: None,
            carrier: Carrier::Http,
            request_id: RequestId::next(0),
        };
        let identified = match &self.world.callers[caller] {
            None => Ok(identify::local(gate, arrival)),
            Some(facts) => identify::verified(gate, arrival, facts.clone()),
        };
        let identified = match identified {
            Ok(identified) => identified,
            Err(refusal) => return Err(unread(&refusal).await),
        };
        let Ok(admitted) = path::join(gate, identified) else {
            panic!("there is room");
        };
        let body = format!(r#"{{"jsonrpc":"2.0","id":"m","method":"{method}","params":{{{params}}}}}"#);
        let answer = path::posted(gate, admitted, body.into()).await;
        Ok(told(answer.unwrap_or_else(|(refusal, about)| respond::refuse(&refusal, &about))).await)
    }

    fn path(&self, endpoint: &str) -> String {
        match endpoint {
            "" => "/mcp".to_owned(),
            path => format!("/mcp/{path}"),
        }
    }
}

async fn unread(refusal: &Refusal) -> Told {
    told(respond::refuse(refusal, &About::default())).await
}

async fn told(answer: Answer) -> Told {
    let (status, body, session) = match answer {
        Answer::Whole {
            status,
            body,
            session,
        } => (status.as_u16(), Bytes::from(body.concat()), session),
        Answer::Messages(mut messages) | Answer::Resumable(_, mut messages) => {
            let mut last = Bytes::new();
            while let Some(message) = messages.next().await {
                last = message;
            }
            (200, last, None)
        }
        _ => panic!("neither whole nor a stream of messages"),
    };
    Told {
        status,
        message: serde_json::from_slice(&body).unwrap(),
        body,
        session,
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.message)
    }
}
