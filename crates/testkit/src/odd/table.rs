//! Everything that is answered as fixed bytes, in tables, so that a test knows the very bytes.
//!
//! In a template `@R` becomes `"resultType":"complete",` and `@C` becomes `,"ttlMs":60000,"cacheScope":"public"`
//! where the modern era demands them, and nothing in the legacy era.

use std::borrow::Cow;

use super::Era;

/// A tool: its name, what it does, its entry in `tools/list` where that is odd too, and its result where that
/// is fixed. Tools without a fixed result are played by `faults`.
pub(super) struct Tool {
    pub(super) name: &'static str,
    pub(super) does: &'static str,
    definition: Option<&'static str>,
    result: Option<&'static str>,
}

const fn answers(name: &'static str, does: &'static str, result: &'static str) -> Tool {
    Tool {
        name,
        does,
        definition: None,
        result: Some(result),
    }
}

const fn listed(
    name: &'static str,
    does: &'static str,
    definition: &'static str,
    result: &'static str,
) -> Tool {
    Tool {
        name,
        does,
        definition: Some(definition),
        result: Some(result),
    }
}

const fn plays(name: &'static str, does: &'static str) -> Tool {
    Tool {
        name,
        does,
        definition: None,
        result: None,
    }
}

const OK: &str = r#"{@R"content":[{"type":"text","text":"ok"}]}"#;

/// The odd tools, in the order in which they are listed.
pub(super) static TOOLS: &[Tool] = &[
    // Odd in what they answer.
    listed(
        "unknown_fields",
        "answers with fields that no version of the protocol knows",
        concat!(
            r#"{"zVendor":{"b":1,"a":[null,true,{}]},"name":"unknown_fields","execution":{"taskSupport":"forbidden","x":1},"#,
            r#""inputSchema":{"type":"object","x-vendor":[1,2]},"annotations":{"readOnlyHint":true,"com.example/mood":"odd"},"#,
            r#""_meta":{"com.example/a":{"deep":[1.0,-0]}},"aVendor":null}"#
        ),
        concat!(
            r#"{"vendorTop":{"z":1,"a":[null,true,{}]},"content":[{"type":"text","text":"ok","vendorInner":{"y":0},"#,
            r#""annotations":{"priority":0.5,"mood":"odd"}}],@R"isError":false,"vendorLast":""}"#
        ),
    ),
    listed(
        "key_order",
        "answers with its keys in no order that a program would choose",
        concat!(
            r#"{"inputSchema":{"required":["z","a"],"properties":{"z":{"type":"string"},"a":{"type":"string"},"m":{}},"#,
            r#""type":"object"},"description":"keys as they came","name":"key_order"}"#
        ),
        concat!(
            r#"{"structuredContent":{"z":1,"a":2,"m":{"y":1,"b":2}},"isError":false,"#,
            r#""content":[{"text":"{\"z\":1,\"a\":2}","type":"text"}],@R"_meta":{"com.example/z":1,"com.example/a":2}}"#
        ),
    ),
    listed(
        "big_numbers",
        "answers with integers beyond 64 bits and floats in odd spellings",
        concat!(
            r#"{"name":"big_numbers","inputSchema":{"type":"object","properties":{"n":{"type":"number","#,
            r#""maximum":1E+2,"minimum":-0,"multipleOf":18446744073709551616}}}}"#
        ),
        concat!(
            r#"{@R"content":[],"structuredContent":{"u64+1":18446744073709551616,"googol":1"#,
            "00000000000000000000000000000000000000000000000000",
            "00000000000000000000000000000000000000000000000000",
            r#","i64-1":-9223372036854775809,"plus":1E+2,"minus":1e-2,"zero":-0,"zero.0":-0.0,"one":1.0,"#,
            r#""trailing":0.10,"vast":1e400,"tenth":0.1000000000000000055511151231257827}}"#
        ),
    ),
    answers(
        "unknown_enums",
        "answers with values that the enumerations of the protocol do not have",
        concat!(
            r#"{"content":[{"type":"text","text":"ok","annotations":{"audience":["user","system"],"priority":7}},"#,
            r#"{"type":"hologram","depth":3},{"type":"resource_link","uri":"odd:x","name":"x","size":-1}],@R"isError":false}"#
        ),
    ),
    listed(
        "odd_icons",
        "is listed with icons that a strict model refuses",
        concat!(
            r#"{"name":"odd_icons","inputSchema":{"type":"object"},"icons":[{"src":"data:,","sizes":"any","mimeType":"x"},"#,
            r#"{"src":"https://example.com/i.png","sizes":["48x48","any"],"theme":"sepia"},{"src":"urn:x","sizes":48}]}"#
        ),
        concat!(
            r#"{"content":[{"type":"resource_link","uri":"odd:icons","name":"i","icons":[{"src":"urn:x","sizes":"1x1"}]}],"#,
            r#"@R"isError":false}"#
        ),
    ),
    answers(
        "escapes",
        "answers with characters in every spelling JSON has for them",
        "{@R\"content\":[{\"type\":\"text\",\"text\":\"\\u00e9 é \\/ / \\u2028 \u{2028} \\ud83d\\ude00 😀 \\u0041 \\u0000 \\b\\f\\t\"}]}",
    ),
    answers(
        "lone_surrogate",
        "answers with half a character, which JSON allows and no string holds",
        r#"{@R"content":[{"type":"text","text":"\ud800"}]}"#,
    ),
    answers(
        "vendor_meta",
        "answers with `_meta` of its own at every level",
        concat!(
            r#"{"_meta":{"com.example/trace":{"id":18446744073709551616},"progressToken":"not yours","x":null},"#,
            r#""content":[{"type":"text","text":"ok","_meta":{"com.example/inner":[1,2.50]}}],@R"isError":false}"#
        ),
    ),
    answers(
        "whitespace",
        "answers with blanks and tabs between its tokens",
        "{ @R\"content\" :\t[ ] , \"x\" : { } }",
    ),
    answers(
        "structured_array",
        "answers with `structuredContent` that is a list",
        r#"{@R"content":[],"structuredContent":[1,"two",null]}"#,
    ),
    answers(
        "structured_text",
        "answers with `structuredContent` that is a text",
        r#"{@R"content":[],"structuredContent":"text"}"#,
    ),
    answers("empty_content", "answers with nothing", r#"{@R"content":[]}"#),
    answers(
        "is_error",
        "fails as tools do",
        r#"{@R"content":[{"type":"text","text":"no such luck"}],"isError":true,"odd":1}"#,
    ),
    answers(
        "id_last",
        "puts the id behind the result, and members around it that JSON-RPC does not know",
        OK,
    ),
    plays("big_text", "answers with a text of `bytes` (16 MiB)"),
    plays(
        "rpc_error",
        "fails with a JSON-RPC error that carries vendor data",
    ),
    plays("echo", "answers with its arguments, byte for byte, as a text"),
    plays("pid", "answers with the id of the process"),
    plays(
        "grandchild",
        "answers with the id of the grandchild, if one was started",
    ),
    // Odd in when and how they answer.
    plays("slow", "answers after `ms` (200)"),
    plays("never", "never answers"),
    plays(
        "exit",
        "ends the process, or closes the connection, instead of answering",
    ),
    plays(
        "die_mid_stream",
        "breaks off in the middle of its answer; `as`: json (default) or sse",
    ),
    plays("not_json", "answers with a page of HTML"),
    plays(
        "garbage_line",
        "sends a line, or event, that is not JSON, then its answer",
    ),
    plays(
        "endless_line",
        "begins an answer that never ends; `as`: json or sse",
    ),
    plays("endless_events", "sends notifications without end"),
    plays("over_max", "answers with a text of `bytes` (65 MiB)"),
    plays("wrong_id", "answers under an id that nobody used, and only that"),
    plays("duplicate_answer", "answers twice"),
    plays("http_status", "answers with HTTP `status` (500) and `body`"),
    plays("flood_stderr", "writes `bytes` (1 MiB) to stderr, then answers"),
    // Odd in what else they send.
    plays(
        "progress",
        "sends `count` (3) notes of progress under the caller's token, then answers",
    ),
    plays(
        "foreign_progress",
        "sends progress under a token that nobody gave, then answers",
    ),
    plays("log", "sends a log message of every level, then answers"),
    plays("list_changed", "lists one tool more, says so, then answers"),
    plays(
        "resource_updated",
        "says that `uri` (odd:resource) was updated, then answers",
    ),
    plays("lose_session", "forgets the caller's session, then answers"),
    plays(
        "ask_elicitation",
        "asks the user and answers with the user's answer, byte for byte",
    ),
    plays(
        "ask_sampling",
        "asks for a completion and answers with it, byte for byte",
    ),
    plays(
        "ask_roots",
        "asks for the roots and answers with them, byte for byte",
    ),
];

/// Fixed results of other methods than `tools/call`.
static METHODS: &[(&str, &str)] = &[
    (
        "prompts/list",
        r#"{@R"prompts":[{"odd":1E+2,"name":"odd_prompt","arguments":[{"name":"who","required":true,"x":null}]}]@C}"#,
    ),
    (
        "prompts/get",
        concat!(
            r#"{"odd":{"z":1,"a":-0},"messages":[{"role":"user","content":{"type":"text","text":"hello","#,
            r#""annotations":{"audience":["system"]}},"x":18446744073709551616}],@R"description":"odd"}"#
        ),
    ),
    (
        "resources/list",
        concat!(
            r#"{@R"resources":[{"uri":"odd:resource","name":"odd","size":18446744073709551616,"odd":[]},"#,
            r#"{"name":"second","uri":"odd://host/Path%20with%2Fescapes?q=1#f"}]@C}"#
        ),
    ),
    (
        "resources/templates/list",
        r#"{@R"resourceTemplates":[{"name":"made","uriTemplate":"odd:made/{+path}","odd":false}]@C}"#,
    ),
    (
        "resources/read",
        concat!(
            r#"{"odd":0.10,"contents":[{"text":"\u00e9","uri":"odd:resource","mimeType":"text/x-odd","_meta":{"x":1e2}}],"#,
            r#"@R"_meta":{"com.example/z":null}@C}"#
        ),
    ),
    (
        "completion/complete",
        r#"{@R"completion":{"values":["b","a"],"total":18446744073709551616,"hasMore":false,"odd":1.0}}"#,
    ),
    ("vendor/odd", r#"{@R"z":1,"a":{"vendor":18446744073709551616}}"#),
    ("ping", "{}"),
    ("logging/setLevel", "{}"),
    ("resources/subscribe", "{}"),
    ("resources/unsubscribe", "{}"),
];

/// The capabilities the odd server declares, with a vendor's own among them.
const CAPABILITIES: &str = concat!(
    r#"{"zVendor":{"a":[1.0]},"tools":{"listChanged":true,"odd":1},"prompts":{"listChanged":true},"#,
    r#""resources":{"subscribe":true,"listChanged":true},"logging":{},"#,
    r#""experimental":{"com.example/odd":{"level":18446744073709551616}},"aVendor":null}"#
);

/// The text of the JSON-RPC error that the tool `rpc_error` fails with.
pub const ERROR: &str =
    r#"{"data":{"z":1,"a":18446744073709551616},"message":"odd \u00e9","code":-31999,"x":1E+2}"#;

/// The exact bytes of `result` that the odd server answers with: for a tool by its name, for any other
/// method by the method's.
///
/// # Panics
/// When nothing of that name has a fixed result: a test that asks for it cannot mean what it says.
#[must_use]
#[expect(clippy::panic, reason = "a typing error in a test must stop it at once")]
pub fn result_bytes(name: &str, era: Era) -> Vec<u8> {
    match fixed_result(name, era) {
        Some(result) => result.into_bytes(),
        None if name == "big_text" => big_text(16 << 20, era),
        None => panic!("`{name}` has no fixed result"),
    }
}

/// The exact bytes of a tool's entry in `tools/list`.
///
/// # Panics
/// When there is no such tool.
#[must_use]
#[expect(clippy::panic, reason = "a typing error in a test must stop it at once")]
pub fn definition_bytes(name: &str) -> Vec<u8> {
    let Some(tool) = TOOLS.iter().find(|tool| tool.name == name) else {
        panic!("`{name}` is no odd tool")
    };
    tool.definition().into_owned().into_bytes()
}

/// The names of the tools that answer with fixed bytes: all of what a fidelity test calls, but `big_text`.
pub fn fixed_tools() -> impl Iterator<Item = &'static str> {
    TOOLS
        .iter()
        .filter(|tool| tool.result.is_some())
        .map(|tool| tool.name)
}

/// The names of the methods that answer with fixed bytes and lie outside `tools/call`.
pub fn fixed_methods() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|(method, _)| *method)
}

impl Tool {
    pub(super) fn definition(&self) -> Cow<'static, str> {
        self.definition
            .map_or_else(|| plain_definition(self.name, self.does).into(), Cow::Borrowed)
    }
}

/// An ordinary entry of `tools/list`.
pub(super) fn plain_definition(name: &str, does: &str) -> String {
    format!(r#"{{"name":"{name}","description":"{does}","inputSchema":{{"type":"object"}}}}"#)
}

pub(super) fn fixed_result(name: &str, era: Era) -> Option<String> {
    let tool = TOOLS
        .iter()
        .find(|tool| tool.name == name)
        .and_then(|tool| tool.result);
    let method = || {
        METHODS
            .iter()
            .find(|(method, _)| *method == name)
            .map(|(_, result)| *result)
    };
    Some(filled(tool.or_else(method)?, era))
}

/// A result with a text of `bytes` letters.
pub(super) fn big_text(bytes: usize, era: Era) -> Vec<u8> {
    let mut result = filled(r#"{@R"content":[{"type":"text","text":""#, era).into_bytes();
    result.resize(result.len() + bytes, b'a');
    result.extend_from_slice(br#""}]}"#);
    result
}

/// The result of `server/discover`, naming `versions`.
pub(super) fn discovered(versions: &[&str]) -> String {
    let versions = versions
        .iter()
        .map(|version| format!("\"{version}\""))
        .collect::<Vec<_>>()
        .join(",");
    filled(
        &format!(
            concat!(
                r#"{{"odd":1E+2,@R"supportedVersions":[{versions}],"capabilities":{CAPABILITIES},"#,
                r#""_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"odd","version":"1","odd":true}}}},"#,
                r#""instructions":"Expect \u00e9verything."@C}}"#
            ),
            versions = versions,
            CAPABILITIES = CAPABILITIES
        ),
        Era::Modern,
    )
}

/// The result of `initialize` at `version`.
pub(super) fn initialized(version: &str) -> String {
    format!(
        concat!(
            r#"{{"odd":1E+2,"protocolVersion":"{version}","capabilities":{CAPABILITIES},"#,
            r#""serverInfo":{{"name":"odd","version":"1","odd":true}},"instructions":"Expect \u00e9verything."}}"#
        ),
        version = version,
        CAPABILITIES = CAPABILITIES
    )
}

/// Puts what `era` demands into a template.
pub(super) fn filled(template: &str, era: Era) -> String {
    let (result_type, caching) = match era {
        Era::Modern => (
            r#""resultType":"complete","#,
            r#","ttlMs":60000,"cacheScope":"public""#,
        ),
        Era::Legacy => ("", ""),
    };
    template.replace("@R", result_type).replace("@C", caching)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;

    /// Well-formed JSON, whatever a number or a string in it can be represented as.
    fn is_json(text: &str) -> bool {
        serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get() == text)
    }

    #[test]
    fn every_fixed_text_is_json_in_both_eras_and_fits_on_a_line() {
        for era in [Era::Modern, Era::Legacy] {
            for name in fixed_tools().chain(fixed_methods()) {
                let text = String::from_utf8(result_bytes(name, era)).unwrap();
                assert!(
                    is_json(&text) && !text.contains('\n') && !text.contains('@'),
                    "{name}: {text}"
                );
                let typed = text.contains(r#""resultType":"complete""#);
                assert_eq!(typed, era == Era::Modern && text != "{}", "{name}: {text}");
            }
        }
        for text in [&discovered(&["2026-07-28"]), &initialized("2025-11-25"), ERROR] {
            assert!(is_json(text), "{text}");
        }
    }

    #[test]
    fn every_definition_is_json_and_names_its_tool() {
        for tool in TOOLS {
            let text = String::from_utf8(definition_bytes(tool.name)).unwrap();
            assert!(
                is_json(&text) && text.contains(&format!(r#""name":"{}""#, tool.name)),
                "{text}"
            );
            assert!(!tool.does.is_empty());
        }
    }

    #[test]
    fn a_big_text_is_as_big_as_it_says() {
        let result = result_bytes("big_text", Era::Legacy);
        assert_eq!(
            result.len(),
            (16 << 20) + r#"{"content":[{"type":"text","text":""}]}"#.len()
        );
    }

    #[test]
    #[should_panic(expected = "has no fixed result")]
    fn a_name_without_a_fixed_result_stops_the_test() {
        _ = result_bytes("never", Era::Modern);
    }
}
