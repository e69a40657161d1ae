//! The configuration examples in the documentation, run.
//!
//! A block that begins with ```` ```yaml gatepost ```` is a whole configuration: it must be valid without a warning, and fit the
//! JSON Schema. One that begins with ```` ```yaml gatepost-refused ```` must be refused. So must every block be marked that looks
//! like a configuration, lest an example go untested.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use gatepost_config::{Config, json_schema};

mod schema_check;

/// Every variable is set, so that examples may name any: to what is a path, a secret, and 32 bytes in Base64.
fn environment(_name: &str) -> Option<OsString> {
    Some("/123456789abcdefghijklmnopqrstuvwxyzABCDEFw=".into())
}

struct Example {
    place: String,
    mark: String,
    text: String,
}

fn examples_in(file: &Path) -> std::io::Result<Vec<Example>> {
    let text = fs::read_to_string(file)?;
    let mut examples = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(mark) = line.trim().strip_prefix("```yaml") else {
            continue;
        };
        let indent = line.len() - line.trim_start().len();
        let body = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| line.trim() != "```");
        let body: Vec<&str> = body.map(|line| line.get(indent..).unwrap_or_default()).collect();
        let place = format!("{}:{}", file.display(), at + 1);
        examples.push(Example {
            place,
            mark: mark.trim().to_owned(),
            text: body.join("\n"),
        });
    }
    Ok(examples)
}

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found: Vec<PathBuf> = vec![
        root.join("README.md"),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("examples.md"),
    ];
    if let Ok(entries) = fs::read_dir(root.join("docs")) {
        found.extend(entries.flatten().map(|entry| entry.path()));
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "md") && path.is_file());
    found.sort();
    found
}

#[test]
fn the_examples_in_the_documentation_are_right() {
    let schema = json_schema();
    let mut checked = 0;
    for example in documents().iter().flat_map(|file| examples_in(file).unwrap()) {
        let Example { place, mark, text } = &example;
        // Files that examples refer to need not exist: their secrets come from the environment instead.
        let text = text.replace("${file:", "${env:FILE:-0123456789abcdef");
        let folder = tempfile::tempdir().unwrap();
        let config = Config::parse_in(folder.path(), &text, &environment);
        match mark.as_str() {
            "gatepost" => {
                let config = config.unwrap_or_else(|problems| panic!("{place}:\n{problems}"));
                assert!(config.warnings.is_empty(), "{place}: {:?}", config.warnings);
                // The policy understands what the configuration lets through.
                let rules = gatepost_policy::Rules::compile(config.rule_settings());
                assert!(rules.is_ok(), "{place}: {:?}", rules.err());
                let value: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
                schema_check::check(&schema, &schema, &value, "")
                    .unwrap_or_else(|why| panic!("{place}: {why}"));
            }
            "gatepost-refused" => assert!(config.is_err(), "{place}: is accepted"),
            other => {
                let looks_like_one = [
                    "servers:",
                    "mcpServers:",
                    "views:",
                    "listen:",
                    "identity:",
                    "roles:",
                    "bindings:",
                    "limits:",
                    "quotas:",
                    "audit:",
                ];
                let looks_like_one = text
                    .lines()
                    .any(|line| looks_like_one.iter().any(|key| line.starts_with(key)));
                assert!(
                    !looks_like_one,
                    "{place}: mark it as `yaml gatepost`, not `yaml {other}`"
                );
                continue;
            }
        }
        checked += 1;
    }
    assert!(checked >= 3, "only {checked} examples were found");
}

/// What the reader refuses for its shape, the schema refuses too, and the other way round.
#[test]
fn the_schema_and_the_reader_agree() {
    let schema = json_schema();
    for (text, valid) in [
        ("", true),
        ("{$schema: x}", true),
        ("http:", true),
        ("http: {max_body: 4MiB, max_connections: 4}", true),
        ("http: {max_body: 4}", false),
        ("http: {max_body: 4mb}", false),
        ("http: {max_body: '${env:X:-4MiB}'}", true),
        ("http: {max_connections: 0}", false),
        ("http: {max_connections: '4'}", false),
        ("http: {hosts: a}", false),
        ("http: {tls: {}}", false),
        ("telemetry: {log: jsn}", false),
        ("endpoints: {all: 1}", false),
        ("shutdown: {grace: 1h30m}", true),
        ("shutdown: {grace: 30}", false),
        ("servers: {a: {}}", false),
        ("servers: {a: {command: x, args: [1, true, y]}}", true),
        ("servers: {a: {command: x, url: 'https://h/'}}", false),
        ("servers: {a: {url: 'ftp://h/'}}", false),
        ("servers: {a: {module: m, options: {any: [thing]}}}", true),
        ("servers: {a: {module: m, effects: {'x*': read}}}", true),
        ("servers: {a: {module: m, effects: {'x*': reed}}}", false),
        ("servers: {a: {module: m, isolation: tenant}}", true),
        ("mcpServers: {a: {command: x, type: stdio}}", true),
        ("mcpServers: {a: {comand: x}}", false),
        ("{mcpServers: {a: {module: m}}, servers: {b: {module: m}}}", false),
        ("views: {v: {include: ['*'], access: write}}", true),
        ("views: {v: {include: ['']}}", false),
        ("ops: {}", false),
        ("ops:", false),
        ("ops: {listen: 'unix:/x'}", true),
        ("access: read", true),
        ("access: readonly", false),
        ("identity: {api_keys: true}", true),
        ("identity: {api_keys: 1}", false),
        ("identity: {api_keys: true, jwt: [{}]}", false),
        ("identity: {jwt: [{issuer: 'https://i', audience: [a]}]}", true),
        ("identity: {jwt: [{issuer: 'https://i', audience: []}]}", false),
        ("identity: {jwt: [{issuer: 'https://i', audience: ['*']}]}", false),
        ("identity: {jwt: [{issuer: i, audience: [a]}]}", false),
        (
            "identity: {jwt: [{issuer: 'https://i', audience: [a], algorithms: [ES256]}]}",
            true,
        ),
        (
            "identity: {jwt: [{issuer: 'https://i', audience: [a], algorithms: [HS256]}]}",
            false,
        ),
        (
            "identity: {jwt: [{issuer: 'https://i', audience: [a], groups: {claim: [a, b]}}]}",
            true,
        ),
        (
            "identity: {jwt: [{issuer: 'https://i', audience: [a], groups: {claim: {a: b}}}]}",
            false,
        ),
        (
            "identity: {jwt: [{issuer: 'https://i', audience: [a], tenant: {claim: a}}]}",
            false,
        ),
        ("identity: {api_keys: true, cache: 0s}", true),
        ("identity: {api_keys: true, cache: 0}", false),
        (
            "{identity: {api_keys: true}, roles: {r: {allow: ['*'], scopes: [a]}}}",
            true,
        ),
        (
            "{identity: {api_keys: true}, roles: {r: {scopes: ['a b']}}}",
            false,
        ),
        (
            "{identity: {api_keys: true}, roles: {r:}, bindings: [{role: r, tenant: t}]}",
            true,
        ),
        (
            "{identity: {api_keys: true}, roles: {r:}, bindings: [{roles: [r], tenant: t}]}",
            true,
        ),
        (
            "{identity: {api_keys: true}, roles: {r:}, bindings: [{role: r}]}",
            false,
        ),
        (
            "{identity: {api_keys: true}, roles: {r:}, bindings: [{tenant: t}]}",
            false,
        ),
        (
            "{identity: {api_keys: true}, roles: {r:}, bindings: [{role: r, roles: [r], tenant: t}]}",
            false,
        ),
        (
            "{identity: {api_keys: true}, roles: {r:}, views: {v: {roles: [r]}}}",
            true,
        ),
        ("views: {v: {roles: []}}", false),
        ("limits: [{per: ip, rate: 100/min}]", true),
        ("limits: [{per: ip, rate: 100}]", false),
        ("limits: [{per: ip, rate: 100/week}]", false),
        ("limits: [{per: ip}]", false),
        ("limits: [{per: ip, rate: 1/s, concurrency: 1}]", false),
        ("limits: [{rate: 1/s}]", false),
        ("limits: [{per: ip, concurrency: 0}]", false),
        ("quotas: [{per: tenant, calls: 1/day}]", true),
        ("quotas: [{per: tenant, bytes: 1GiB/day}]", true),
        ("quotas: [{per: tenant, bytes: 1GiB/h}]", false),
        ("quotas: [{per: tenant}]", false),
        ("quotas: [{per: ip, calls: 1/day}]", false),
        ("audit:", true),
        ("audit: {}", true),
        ("audit: {durability: fsync}", false),
        ("audit: {sinks: [{stdout: {}}]}", true),
        ("audit: {sinks: [{stdout: {a: b}}]}", false),
        ("audit: {sinks: [{}]}", false),
        ("audit: {sinks: [{http: {url: 'https://h/', batch: 501}}]}", false),
        ("audit: {sinks: [{http: {}}]}", false),
        (
            "servers: {a: {url: 'https://h/', credentials: [{principal: pat}]}}",
            true,
        ),
        (
            "servers: {a: {url: 'https://h/', credentials: [{principal: key}]}}",
            false,
        ),
        ("servers: {a: {url: 'https://h/', credentials: [{}]}}", false),
        (
            "servers: {a: {url: 'https://h/', credentials: [{basic: {username: a}}]}}",
            false,
        ),
    ] {
        let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
        let value = if value.is_null() {
            serde_json::json!({})
        } else {
            value
        };
        let by_schema = schema_check::check(&schema, &schema, &value, "");
        let by_reader = Config::parse_in(Path::new("."), text, &|name| {
            (name == "HOME").then(|| "/home/ann".into())
        });
        assert_eq!(by_schema.is_ok(), valid, "the schema on {text}: {by_schema:?}");
        assert_eq!(
            by_reader.is_ok(),
            valid,
            "the reader on {text}: {:?}",
            by_reader.err()
        );
    }
}

/// Every default in the schema is what it says, since it is read like any value.
#[test]
fn defaults_are_valid_values() {
    fn walk(root: &serde_json::Value, schema: &serde_json::Value, path: &str, found: &mut usize) {
        if let Some(default) = schema.get("default") {
            *found += 1;
            schema_check::check(root, schema, default, path).unwrap();
        }
        let properties = schema
            .get("properties")
            .and_then(|properties| properties.as_object());
        for (key, property) in properties.into_iter().flatten() {
            let path = format!("{path}.{key}");
            assert!(
                property.get("description").is_some() || property.get("$ref").is_some(),
                "{path} has no words"
            );
            walk(root, property, &path, found);
        }
        for inner in ["additionalProperties", "items"] {
            if let Some(inner) = schema.get(inner).filter(|inner| inner.is_object()) {
                walk(root, inner, path, found);
            }
        }
    }
    let (schema, mut found) = (json_schema(), 0);
    walk(&schema, &schema, "", &mut found);
    walk(&schema, &schema["$defs"]["server"], "server", &mut found);
    assert!(found > 15, "only {found} defaults");
}
