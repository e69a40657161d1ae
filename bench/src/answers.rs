//! What the backend answers, rendered once: an answer is these bytes around the caller's id.

use crate::Era;

/// The tool that answers with a small JSON document.
pub(crate) const ECHO: &str = "echo";
/// The tool that answers with a single event on an SSE stream.
pub(crate) const STREAM: &str = "stream";

/// The results of one backend, from `"result":` to the last brace.
#[derive(Debug)]
pub(crate) struct Answers {
    /// `server/discover`; for a legacy backend the error that sends a client to `initialize`.
    pub(crate) discover: String,
    /// `initialize`.
    pub(crate) initialize: String,
    /// `tools/list`.
    pub(crate) list: String,
    /// `tools/call`.
    pub(crate) call: String,
    /// Any method that is not served.
    pub(crate) unknown: String,
    /// `ping`.
    pub(crate) pong: String,
}

impl Answers {
    /// Renders the answers of an `era` server with `tools` tools (at least the two that can be called).
    pub(crate) fn new(era: Era, tools: usize) -> Self {
        let unknown = r#""error":{"code":-32601,"message":"Method not found"}"#.to_owned();
        let text = "Light rain in Seattle, 11 degrees, wind from the south-west at 14 km/h";
        let (complete, cached) = match era {
            Era::Modern => (
                r#""resultType":"complete","#,
                r#","ttlMs":3600000,"cacheScope":"public""#,
            ),
            Era::Legacy => ("", ""),
        };
        let call = format!(
            r#""result":{{{complete}"content":[{{"type":"text","text":"{text}"}}],"isError":false}}"#
        );
        let list = format!(
            r#""result":{{{complete}"tools":[{}]{cached}}}"#,
            (0..tools.max(2)).map(tool).collect::<Vec<_>>().join(",")
        );
        let discover = match era {
            Era::Modern => concat!(
                r#""result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"#,
                r#""_meta":{"io.modelcontextprotocol/serverInfo":{"name":"bench-backend","version":"1"}},"#,
                r#""ttlMs":3600000,"cacheScope":"public"}"#
            )
            .to_owned(),
            Era::Legacy => r#""error":{"code":-32000,"message":"Bad Request: Server not initialized"}"#.to_owned(),
        };
        let initialize = match era {
            Era::Modern => unknown.clone(),
            Era::Legacy => concat!(
                r#""result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"#,
                r#""serverInfo":{"name":"bench-backend","version":"1"}}"#
            )
            .to_owned(),
        };
        Self {
            discover,
            initialize,
            list,
            call,
            unknown,
            pong: r#""result":{}"#.to_owned(),
        }
    }
}

/// Tool `index`: about 350 bytes, so that 1,000 of them make the 354 KB list that was measured beforehand.
fn tool(index: usize) -> String {
    let name = match index {
        0 => ECHO.to_owned(),
        1 => STREAM.to_owned(),
        _ => format!("tool_{index:04}"),
    };
    format!(
        concat!(
            r#"{{"name":"{name}","description":"Looks up the weather at a place and tells it in a sentence a person "#,
            r#"would say.","inputSchema":{{"type":"object","properties":{{"location":{{"type":"string","#,
            r#""description":"City and country"}},"days":{{"type":"integer","minimum":1,"maximum":14}},"units":{{"type":"string","#,
            r#""enum":["metric","imperial"]}}}},"required":["location"]}}}}"#
        ),
        name = name
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn whole(part: &str) -> Value {
        serde_json::from_str(&format!("{{{part}}}")).unwrap()
    }

    #[test]
    fn every_answer_is_json_and_the_long_list_is_as_long_as_the_one_measured_before() {
        for era in [Era::Modern, Era::Legacy] {
            let answers = Answers::new(era, 1_000);
            for part in [
                &answers.discover,
                &answers.initialize,
                &answers.call,
                &answers.unknown,
                &answers.pong,
            ] {
                whole(part);
            }
            assert_eq!(
                whole(&answers.list)["result"]["tools"].as_array().unwrap().len(),
                1_000
            );
            assert!(
                (344_000..364_000).contains(&answers.list.len()),
                "{}",
                answers.list.len()
            );
        }
    }

    #[test]
    fn only_a_modern_server_discovers_and_only_a_legacy_one_shakes_hands() {
        let (modern, legacy) = (Answers::new(Era::Modern, 10), Answers::new(Era::Legacy, 10));
        assert!(
            whole(&modern.discover)["result"].is_object() && whole(&modern.initialize)["error"].is_object()
        );
        assert!(
            whole(&legacy.discover)["error"].is_object() && whole(&legacy.initialize)["result"].is_object()
        );
    }
}
