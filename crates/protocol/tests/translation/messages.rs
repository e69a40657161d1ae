//! Messages out of bytes: the same bytes always make the same message, so proptest can shrink them and a fuzzer can steer.
//!
//! What is made here is written by hand, not by a serialiser, because its odd spellings are the point: escaped keys, digits
//! that no float holds, white space, members nobody knows, in any order.

use gatepost_protocol::json::quote;
use gatepost_protocol::method::Method;
use gatepost_protocol::version::Version;

/// Bytes as a source of choices. When they have run out every choice is the first, which is always the simplest.
pub(crate) struct Dice<'a> {
    bytes: &'a [u8],
    /// Objects come with members that are missing, doubled, or of the wrong kind.
    hostile: bool,
}

/// The legacy versions.
pub(crate) const LEGACY: [Version; 4] = [
    Version::V2025_11_25,
    Version::V2025_06_18,
    Version::V2025_03_26,
    Version::V2024_11_05,
];

/// Requests whose parameters go through the gate.
pub(crate) const CALLS: [Method; 8] = [
    Method::ToolsCall,
    Method::PromptsGet,
    Method::ResourcesRead,
    Method::ToolsList,
    Method::PromptsList,
    Method::ResourcesList,
    Method::ResourceTemplatesList,
    Method::CompletionComplete,
];

/// Codes that no row of `eras.md` 9 changes.
pub(crate) const PLAIN_CODES: [i64; 9] = [
    -32603,
    -32700,
    -32600,
    -32601,
    -32602,
    -32000,
    -32001,
    -1,
    4_000_000_000,
];

const NUMBERS: [&str; 8] = [
    "0",
    "-0",
    "1.0",
    "9007199254740993",
    "123456789012345678901234567890",
    "-0.50E-3",
    "1e400",
    "7",
];

const STRINGS: [&str; 8] = [
    r#""""#,
    r#""plain""#,
    r#""\u0041\/""#,
    r#""\ud83d\ude00 😀""#,
    r#""\\\"\b\f\n\r\t\u0000""#,
    r#""{\"id\":1}""#,
    r#""é中\u2028""#,
    r#""https://a.example/?b=1&c=%20""#,
];

/// Names that some translation looks at.
const LOADED: [&str; 20] = [
    "_meta",
    "arguments",
    "const",
    "content",
    "data",
    "elicitationId",
    "enum",
    "enumNames",
    "inputRequests",
    "mode",
    "name",
    "oneOf",
    "outputSchema",
    "params",
    "properties",
    "requestState",
    "resultType",
    "structuredContent",
    "type",
    "url",
];

/// Codes that rows of `eras.md` 9 are about.
const CODES: [i64; 6] = [-32002, -32602, -32020, -32021, -32042, -32050];

impl<'a> Dice<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            hostile: false,
        }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        first
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit.max(1)
    }

    /// One of many.
    pub(crate) fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Yes once in `many` times.
    pub(crate) fn once_in(&mut self, many: u8) -> bool {
        self.byte() % many == many - 1
    }

    fn gap(&mut self) -> &'static str {
        self.one_of(&["", "", "", "", "", "", " ", "\r\n\t"])
    }

    /// `name` as a key; now and then spelled as nobody would.
    fn key(&mut self, name: &str) -> String {
        let quoted = String::from_utf8_lossy(&quote(name)).into_owned();
        match name.bytes().next() {
            Some(first) if first.is_ascii_alphanumeric() && self.once_in(8) => {
                format!(r#""\u{first:04x}{}"#, &quoted[2..])
            }
            _ => quoted,
        }
    }

    /// Any string.
    pub(crate) fn string(&mut self) -> String {
        self.one_of(&STRINGS).to_owned()
    }

    /// Any value.
    pub(crate) fn value(&mut self, levels: u8) -> String {
        match self.below(if levels == 0 { 4 } else { 6 }) {
            0 => self.one_of(&["null", "true", "false"]).to_owned(),
            1 | 2 => self.string(),
            3 => self.one_of(&NUMBERS).to_owned(),
            4 => {
                let length = self.below(4);
                let items: Vec<String> = (0..length).map(|_| self.value(levels - 1)).collect();
                self.list(&items)
            }
            _ => self.object(levels - 1),
        }
    }

    /// Any object.
    pub(crate) fn object(&mut self, levels: u8) -> String {
        let mut members = Members::default();
        members.unknown(self, levels);
        members.text(self)
    }

    fn list(&mut self, items: &[String]) -> String {
        let gap = self.gap();
        format!("[{gap}{}{gap}]", items.join(&format!(",{gap}")))
    }

    fn list_of(&mut self, mut item: impl FnMut(&mut Self) -> String) -> String {
        let length = self.below(4);
        let items: Vec<String> = (0..length).map(|_| item(self)).collect();
        self.list(&items)
    }
}

/// The members of an object under way.
#[derive(Default)]
pub(crate) struct Members(Vec<(String, String)>);

impl Members {
    /// Adds a member; `value` is raw JSON.
    pub(crate) fn with(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a member half of the time.
    fn maybe<'a>(
        &mut self,
        dice: &mut Dice<'a>,
        name: &str,
        value: impl FnOnce(&mut Dice<'a>) -> String,
    ) -> &mut Self {
        if dice.once_in(2) {
            let value = value(dice);
            self.with(name, value);
        }
        self
    }

    /// Adds members that no version has.
    fn unknown(&mut self, dice: &mut Dice<'_>, levels: u8) -> &mut Self {
        for number in 0..dice.below(4) {
            let name = dice.one_of(&["x", "vendor.example/y", "id", "", "ключ", "a\"b"]);
            let value = dice.value(levels);
            self.with(&format!("{name}{number}"), value);
        }
        self
    }

    /// The object, its members in any order.
    pub(crate) fn text(&mut self, dice: &mut Dice<'_>) -> String {
        if dice.hostile && dice.once_in(2) {
            self.spoil(dice);
        }
        let start = dice.below(self.0.len());
        self.0.rotate_left(start);
        let gap = dice.gap();
        let members: Vec<String> = self
            .0
            .iter()
            .map(|(name, value)| format!("{}{gap}:{}{value}", dice.key(name), dice.gap()))
            .collect();
        format!("{{{gap}{}{gap}}}", members.join(&format!("{gap},")))
    }

    fn spoil(&mut self, dice: &mut Dice<'_>) {
        let place = dice.below(self.0.len());
        match dice.below(4) {
            0 => {
                let name = dice.one_of(&LOADED);
                let value = dice.value(2);
                self.with(name, value);
            }
            _ if self.0.is_empty() => {}
            1 => self.0.push(self.0[place].clone()),
            2 => self.0[place].1 = dice.value(2),
            _ => drop(self.0.remove(place)),
        }
    }
}

/// A message: `body` is its `params`, `result` or `error`.
pub(crate) fn message(
    dice: &mut Dice<'_>,
    id: &str,
    method: Option<&str>,
    body: Option<(&str, String)>,
) -> String {
    let mut members = Members::default();
    members.with("jsonrpc", "\"2.0\"").with("id", id);
    if let Some(method) = method {
        members.with("method", format!("\"{method}\""));
    }
    if let Some((name, body)) = body {
        members.with(name, body);
    }
    members.text(dice)
}

/// Parameters of a request of a client.
pub(crate) fn params(dice: &mut Dice<'_>, method: Method, client: Version) -> String {
    let mut params = Members::default();
    match method {
        Method::ToolsCall | Method::PromptsGet => {
            let name = dice.string();
            params
                .with("name", name)
                .maybe(dice, "arguments", |dice| dice.object(3));
        }
        Method::ResourcesRead => {
            let uri = dice.string();
            params.with("uri", uri);
        }
        Method::CompletionComplete => {
            params
                .with("ref", r#"{"type":"ref/prompt","name":"n"}"#)
                .with("argument", r#"{"name":"a","value":"v"}"#)
                .maybe(dice, "context", |dice| dice.object(2));
        }
        _ => {
            params.maybe(dice, "cursor", Dice::string);
        }
    }
    params.unknown(dice, 3);
    let mut meta = Members::default();
    meta.maybe(dice, "progressToken", |dice| {
        dice.one_of(&["1", "\"t\""]).to_owned()
    })
    .maybe(dice, "traceparent", Dice::string)
    .unknown(dice, 1);
    if client.is_modern() {
        meta.with("io.modelcontextprotocol/protocolVersion", "\"2026-07-28\"")
            .with(
                "io.modelcontextprotocol/clientCapabilities",
                r#"{"elicitation":{}}"#,
            )
            .maybe(dice, "io.modelcontextprotocol/clientInfo", |dice| dice.object(1))
            .maybe(dice, "io.modelcontextprotocol/logLevel", |_| {
                "\"info\"".to_owned()
            });
    } else {
        params.maybe(dice, "task", |_| r#"{"ttl":1000}"#.to_owned());
    }
    if dice.once_in(4) {
        params.with("requestState", "\"s\"").with("inputResponses", "{}");
    }
    if client.is_modern() || dice.once_in(2) {
        let meta = meta.text(dice);
        params.with("_meta", meta);
    }
    params.text(dice)
}

/// A content block of a kind that `version` knows.
fn block(dice: &mut Dice<'_>, version: Version) -> String {
    let mut block = Members::default();
    match dice.below(5) {
        1 => block
            .with("type", "\"image\"")
            .with("data", "\"aGk=\"")
            .with("mimeType", "\"image/png\""),
        2 => block
            .with("type", "\"resource\"")
            .with("resource", r#"{"uri":"a:b","blob":"aGk="}"#),
        3 if version >= Version::V2025_03_26 => block
            .with("type", "\"audio\"")
            .with("data", "\"aGk=\"")
            .with("mimeType", "\"audio/wav\""),
        4 if version >= Version::V2025_06_18 => block
            .with("type", "\"resource_link\"")
            .with("uri", "\"a:b\"")
            .with("name", "\"n\""),
        _ => {
            let text = dice.string();
            block.with("type", "\"text\"").with("text", text)
        }
    };
    block.unknown(dice, 1).text(dice)
}

/// A tool, without what `eras.md` 10 takes away.
pub(crate) fn tool(dice: &mut Dice<'_>) -> String {
    let schema = |dice: &mut Dice<'_>| {
        let properties = Members::default()
            .with("a", r#"{"type":"string"}"#)
            .with("b", "{}")
            .text(dice);
        Members::default()
            .with("type", "\"object\"")
            .with("properties", properties)
            .maybe(dice, "$schema", |_| {
                "\"https://json-schema.org/draft/2020-12/schema\"".to_owned()
            })
            .unknown(dice, 1)
            .text(dice)
    };
    let mut tool = Members::default();
    let (name, input) = (dice.string(), schema(dice));
    tool.with("name", name)
        .with("inputSchema", input)
        .maybe(dice, "outputSchema", schema)
        .maybe(dice, "annotations", |dice| dice.object(1))
        .unknown(dice, 2)
        .text(dice)
}

/// A complete result of `method`, made by a server that speaks `server`, of what a client at `known` knows.
pub(crate) fn result(dice: &mut Dice<'_>, method: Method, server: Version, known: Version) -> String {
    let mut result = Members::default();
    let named = |dice: &mut Dice<'_>| {
        let name = dice.string();
        Members::default().with("name", name).unknown(dice, 2).text(dice)
    };
    match method {
        Method::ToolsCall => {
            let content = dice.list_of(|dice| block(dice, known));
            result
                .with("content", content)
                .maybe(dice, "structuredContent", |dice| dice.object(3))
                .maybe(dice, "isError", |dice| dice.one_of(&["true", "false"]).to_owned());
        }
        Method::PromptsGet => {
            let messages = dice.list_of(|dice| {
                let content = block(dice, known);
                Members::default()
                    .with("role", "\"user\"")
                    .with("content", content)
                    .text(dice)
            });
            result
                .with("messages", messages)
                .maybe(dice, "description", Dice::string);
        }
        Method::ResourcesRead => {
            let contents = dice.list_of(named);
            result.with("contents", contents);
        }
        Method::CompletionComplete => {
            let values = dice.list_of(Dice::string);
            result.with(
                "completion",
                format!(r#"{{"values":{values},"total":1.0,"hasMore":false}}"#),
            );
        }
        _ => {
            let items = dice.list_of(named);
            let name = match method {
                Method::ToolsList => "tools",
                Method::PromptsList => "prompts",
                Method::ResourcesList => "resources",
                _ => "resourceTemplates",
            };
            result.with(name, items).maybe(dice, "nextCursor", Dice::string);
        }
    }
    result.unknown(dice, 3);
    let mut meta = Members::default();
    meta.unknown(dice, 1);
    if server.is_modern() {
        meta.maybe(dice, "io.modelcontextprotocol/serverInfo", |_| {
            r#"{"name":"s","version":"1"}"#.to_owned()
        })
        .maybe(dice, "io.modelcontextprotocol/subscriptionId", |_| "3".to_owned());
        result.maybe(dice, "resultType", |_| "\"complete\"".to_owned());
    }
    // Some legacy servers send them too.
    result
        .maybe(dice, "ttlMs", |dice| {
            dice.one_of(&["0", "60000", "-1", "\"x\""]).to_owned()
        })
        .maybe(dice, "cacheScope", |dice| {
            dice.one_of(&["\"public\"", "\"private\"", "7"]).to_owned()
        });
    if dice.once_in(2) {
        let meta = meta.text(dice);
        result.with("_meta", meta);
    }
    result.text(dice)
}

/// An error object.
pub(crate) fn error(dice: &mut Dice<'_>, code: i64) -> String {
    let message = dice.string();
    Members::default()
        .with("code", code.to_string())
        .with("message", message)
        .maybe(dice, "data", |dice| dice.value(3))
        .unknown(dice, 1)
        .text(dice)
}

/// What a form asks for: fields of every kind that 2025-11-25 has.
fn form(dice: &mut Dice<'_>) -> String {
    let mut fields = Members::default();
    for number in 0..dice.below(4) {
        let mut field = Members::default();
        match dice.below(4) {
            0 => field
                .with("type", "\"string\"")
                .maybe(dice, "title", Dice::string),
            1 => {
                let choices = dice.list_of(|dice| {
                    let title = dice.string();
                    Members::default()
                        .with("const", "\"c\"")
                        .with("title", title)
                        .text(dice)
                });
                field.with("type", "\"string\"").with("oneOf", choices)
            }
            2 => field
                .with("type", "\"string\"")
                .with("enum", r#"["a","b"]"#)
                .with("enumNames", r#"["A","B"]"#),
            _ => field
                .with("type", "\"array\"")
                .with("items", r#"{"anyOf":[{"const":"c","title":"C"}]}"#),
        };
        let field = field.unknown(dice, 1).text(dice);
        fields.with(&format!("f{number}"), field);
    }
    let fields = fields.text(dice);
    Members::default()
        .with("type", "\"object\"")
        .with("properties", fields)
        .unknown(dice, 1)
        .text(dice)
}

/// A question: its method and its parameters, if it has any. `own`: as a request of its own, as a legacy server asks.
pub(crate) fn question(dice: &mut Dice<'_>, own: bool) -> (&'static str, Option<String>) {
    let mut params = Members::default();
    let method = match dice.below(5) {
        0 => "roots/list",
        1 | 2 => {
            let messages = dice.list_of(|dice| {
                let content = block(dice, Version::V2025_03_26);
                Members::default()
                    .with("role", "\"user\"")
                    .with("content", content)
                    .text(dice)
            });
            params
                .with("messages", messages)
                .with("maxTokens", "100")
                .maybe(dice, "tools", |dice| dice.list_of(tool))
                .maybe(dice, "toolChoice", |_| r#"{"mode":"auto"}"#.to_owned());
            "sampling/createMessage"
        }
        3 => {
            let schema = form(dice);
            params
                .with("message", "\"m\"")
                .maybe(dice, "mode", |_| "\"form\"".to_owned())
                .with("requestedSchema", schema);
            "elicitation/create"
        }
        _ => {
            params
                .with("mode", "\"url\"")
                .with("url", "\"https://a.example/?q=\\u0041\"")
                .with("message", "\"m\"");
            if own {
                params.with("elicitationId", "\"e-1\"");
            }
            "elicitation/create"
        }
    };
    params.unknown(dice, 2);
    if own {
        params.maybe(dice, "task", |_| r#"{"ttl":1}"#.to_owned());
    }
    if dice.once_in(2) {
        let mut meta = Members::default();
        meta.maybe(dice, "progressToken", |_| "5".to_owned())
            .unknown(dice, 1);
        let meta = meta.text(dice);
        params.with("_meta", meta);
    }
    let bare = method == "roots/list" && dice.once_in(2);
    (method, (!bare).then(|| params.text(dice)))
}

/// An answer to a question: the result of `method`.
pub(crate) fn answer(dice: &mut Dice<'_>, method: &str) -> String {
    let mut answer = Members::default();
    match method {
        "roots/list" => {
            let roots = dice.list_of(|dice| {
                let name = dice.string();
                Members::default()
                    .with("uri", "\"file:///a\"")
                    .with("name", name)
                    .text(dice)
            });
            answer.with("roots", roots);
        }
        "sampling/createMessage" => {
            let content = if dice.once_in(2) {
                dice.list_of(|dice| block(dice, Version::V2025_03_26))
            } else {
                block(dice, Version::V2025_03_26)
            };
            answer
                .with("role", "\"assistant\"")
                .with("model", "\"m\"")
                .with("content", content);
        }
        _ => {
            let action = dice.one_of(&["\"accept\"", "\"decline\"", "\"cancel\""]);
            answer
                .with("action", action)
                .maybe(dice, "content", |dice| dice.object(2));
        }
    }
    answer.unknown(dice, 2).text(dice)
}

/// A message such as no honest peer sends: one of the above with members missing, doubled or of the wrong kind.
pub(crate) fn hostile(data: &[u8]) -> String {
    let mut dice = Dice::new(data);
    dice.hostile = true;
    let dice = &mut dice;
    match dice.below(6) {
        0 => {
            let (method, client) = (
                dice.one_of(&CALLS),
                dice.one_of(&[Version::V2026_07_28, Version::V2025_11_25]),
            );
            let params = params(dice, method, client);
            message(dice, "1", Some(method.name()), Some(("params", params)))
        }
        1 => {
            let (method, params) = question(dice, true);
            message(
                dice,
                "\"q\"",
                Some(method),
                params.map(|params| ("params", params)),
            )
        }
        2 => {
            let method = dice.one_of(&CALLS);
            let result = result(dice, method, Version::V2026_07_28, Version::V2026_07_28);
            message(dice, "1", None, Some(("result", result)))
        }
        3 => {
            let code = dice.one_of(&CODES);
            let error = error(dice, code);
            message(dice, "1", None, Some(("error", error)))
        }
        4 => {
            let mut requests = Members::default();
            for key in 0..dice.below(3) {
                let (method, params) = question(dice, false);
                let mut ask = Members::default();
                ask.with("method", format!("\"{method}\""));
                if let Some(params) = params {
                    ask.with("params", params);
                }
                let ask = ask.text(dice);
                requests.with(&key.to_string(), ask);
            }
            let requests = requests.text(dice);
            let result = Members::default()
                .with("resultType", "\"input_required\"")
                .with("inputRequests", requests)
                .maybe(dice, "requestState", Dice::string)
                .text(dice);
            message(dice, "1", None, Some(("result", result)))
        }
        _ => tool(dice),
    }
}
