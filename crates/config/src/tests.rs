//! Whole configurations: what they mean, and what is said when they are wrong.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use gatepost_policy::{Access, Because, Effect, Hints};

use super::*;

fn environment(name: &str) -> Option<OsString> {
    match name {
        "HOME" => Some("/home/ann".into()),
        "TOKEN" => Some("hunter2-of-the-environment".into()),
        "MAX" => Some("9".into()),
        _ => None,
    }
}

fn parse(text: &str) -> Result<Config, Problems> {
    Config::parse_in(Path::new("/etc/gatepost"), text, &environment)
}

#[track_caller]
fn good(text: &str) -> Config {
    parse(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Every problem must be exactly this, in this order.
#[track_caller]
fn check(text: &str, problems: &[&str]) {
    let found = parse(text).map(|_| ()).unwrap_err();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found, problems);
}

#[test]
fn nothing_is_a_configuration() {
    let config = good("");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.data_dir, Path::new("/home/ann/.local/state/gatepost"));
    assert_eq!(config.http.max_body, ByteSize(4 << 20));
    assert_eq!(config.http.max_response, ByteSize(64 << 20));
    assert_eq!(config.http.header_timeout, Duration::from_secs(10));
    assert_eq!(config.http.max_connections.get(), 10_000);
    assert!(config.endpoints.all && config.endpoints.servers);
    assert!(config.servers.is_empty() && config.views.is_empty() && config.warnings.is_empty());
    assert_eq!(config.shutdown_grace, Duration::from_secs(10));
    assert_eq!(config.session_expiry, Duration::from_secs(86_400));
    assert_eq!(
        (config.telemetry.log, config.telemetry.level),
        (LogForm::Auto, LogLevel::Info)
    );
    // Empty sections are what a file has whose settings are all commented out.
    good("http:\nservers:\nviews:\ntelemetry:\n");
}

#[test]
fn everything_that_is_written_arrives() {
    let config = good(
        r#"
listen: unix:run/gate.sock
data_dir: ./state
http:
  public_url: https://gate.example.com
  hosts: [Gate.Example.com, "127.0.0.1:8080"]
  origins: ["https://App.example.com"]
  max_body: 64KiB
endpoints: { all: false, servers: true }
sealing: { keys: [0123456789abcdef0123456789abcdef] }
servers:
  search:
    command: npx
    args: [-y, server-everything, --port, 8080, --version, 1.10, "--token=${env:TOKEN}"]
    env: { TOKEN: "${env:TOKEN}", DEBUG: true }
    cwd: here
    pool: { max: "${env:MAX}", idle: 1m }
    isolation: session
    concurrency: 64
    timeout: 1h30m
  crm:
    url: https://crm.internal/mcp?key=abc
    transport: streamable-http
    era: modern
    headers: { Authorization: "Bearer ${env:TOKEN}" }
    effects: { "get_secret": write, "get_*": read }
  files: { module: files, options: { root: ./docs, limit: 3 } }
  off: { command: x, disabled: true }
views:
  support:
    include: ["crm__*", "files__read_*"]
    exclude: ["*delete*"]
    rename: { crm__get_ticket: ticket }
    access: read
    description: For support.
ops: { listen: "[::1]:9090" }
telemetry: { log: json, level: debug }
shutdown: { grace: 0s }
"#,
    );
    assert_eq!(config.listen, Listen::Unix("/etc/gatepost/run/gate.sock".into()));
    assert_eq!(config.data_dir, Path::new("/etc/gatepost/./state"));
    assert_eq!(config.http.hosts[0].as_str(), "gate.example.com");
    assert_eq!(config.http.origins[0].as_str(), "https://app.example.com");
    assert_eq!(
        config.http.public_url.as_ref().unwrap().host(),
        Some("gate.example.com")
    );
    assert_eq!(config.sealing_keys.len(), 1);
    assert_eq!(config.disabled, ["off"]);
    assert_eq!(config.ops.as_ref().unwrap().to_string(), "[::1]:9090");
    assert_eq!(config.shutdown_grace, Duration::ZERO);
    let names: Vec<&str> = config.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["search", "crm", "files"]);

    let search = &config.servers[0];
    let ServerKind::Command {
        program,
        args,
        env,
        cwd,
    } = &search.kind
    else {
        panic!()
    };
    assert_eq!(program.expose(), "npx");
    let args: Vec<&str> = args.iter().map(Text::expose).collect();
    assert_eq!(
        args[2..],
        [
            "--port",
            "8080",
            "--version",
            "1.10",
            "--token=hunter2-of-the-environment"
        ]
    );
    assert_eq!(
        (env[0].0.as_str(), env[0].1.expose()),
        ("TOKEN", "hunter2-of-the-environment")
    );
    assert_eq!((env[1].0.as_str(), env[1].1.expose()), ("DEBUG", "true"));
    assert_eq!(cwd.as_deref(), Some(Path::new("/etc/gatepost/here")));
    assert_eq!(
        (search.pool.max.get(), search.pool.idle),
        (9, Duration::from_secs(60))
    );
    assert_eq!(
        (search.isolation, search.concurrency.unwrap().get()),
        (Isolation::Session, 64)
    );
    assert_eq!(search.timeout, Duration::from_secs(5_400));

    let crm = &config.servers[1];
    let ServerKind::Url {
        url,
        transport,
        headers,
    } = &crm.kind
    else {
        panic!()
    };
    assert_eq!(
        (url.uri().query(), url.to_string().as_str()),
        (Some("key=abc"), "https://crm.internal/mcp?…")
    );
    assert_eq!(
        (*transport, crm.era),
        (Transport::StreamableHttp, EraChoice::Modern)
    );
    assert_eq!(
        (headers[0].0.as_str(), headers[0].1.expose()),
        ("authorization", "Bearer hunter2-of-the-environment")
    );
    let classified = crm.effects.classify("get_secret", Hints::default());
    assert_eq!(
        (classified.effect, classified.because),
        (Effect::Write, Because::Declared)
    );

    let ServerKind::Module { module, options } = &config.servers[2].kind else {
        panic!()
    };
    assert_eq!(
        (module.as_str(), &options.expose()["limit"]),
        ("files", &serde_json::json!(3))
    );

    let view = &config.views[0];
    assert_eq!((view.name.as_str(), view.rules.access), ("support", Access::Read));
    assert_eq!(view.rename, [("crm__get_ticket".to_owned(), "ticket".to_owned())]);
    assert_eq!(view.description.as_deref(), Some("For support."));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let printed = format!("{config:?}");
    assert!(
        !printed.contains("hunter2") && !printed.contains("0123456789abcdef"),
        "{printed}"
    );
}

#[test]
fn everything_wrong_is_said_at_once() {
    check(
        r#"
listne: 127.0.0.1:80
http:
  max_body: 4194304
  header_timeout: 10
  hosts: gate
  tls: {}
servers:
  crm:
    url: https://crm.internal/mcp
    command: crm
    timout: 5s
  a__b: { module: files, args: [] }
  gone: { command: x, env: { A: "${env:GONE}", B: "${B}" }, pool: { max: 0 } }
views:
  crm: {}
  v: { access: readonly }
identity: {}
"#,
        &[
            "line 2: listne: unknown key; did you mean `listen`?",
            "line 4: http.max_body: `4194304` has no unit; write the unit, such as `4194304B`; units are B, KiB, MiB, \
             GiB, TiB, kB, MB, GB",
            "line 5: http.header_timeout: `10` has no unit; write the unit, such as `10s`; units are s, ms, m, h, d",
            "line 6: http.hosts: expected a list, found a text; write it like `[a, b]`",
            "line 7: http.tls: this version does not have this yet; remove it",
            "line 9: servers.crm: says `command` and `url` at once; keep exactly one of `module`, `command` and `url`",
            "line 12: servers.crm.timout: unknown key; did you mean `timeout`?",
            "line 13: servers.a__b: the name could not be told apart from what follows `__` in `server__tool`; use \
             letters, digits, `.`, `-` and single `_`, and begin with a letter or digit, such as `a_b`",
            "line 13: servers.a__b.args: belongs to a server with `command`, and this one has `module`; remove it",
            "line 14: servers.gone.env.A: the environment variable GONE is not set; set it, or write \
             `${env:GONE:-default}`",
            "line 14: servers.gone.env.B: `${B}` does not say where the value comes from; write `${env:B}` for the \
             environment variable, or `$${` for the text `${`",
            "line 14: servers.gone.pool.max: is out of range; write a whole number of at least 1 and at most 4294967295",
            "line 16: views.crm: there is a server of this name, and both would be `/mcp/crm`; rename one of the two",
            "line 17: views.v.access: `readonly` is not known here; did you mean `read`? write one of `read`, `write` \
             and `destructive`",
            "line 18: identity: this version does not have this yet; remove it",
        ],
    );
}
