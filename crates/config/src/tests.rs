//! Whole configurations: what they mean, and what is said when they are wrong.

use std::{ffi::OsString, fs, path::Path, time::Duration};

use gatepost_policy::{Access, Because, Effect, Hints};

use super::*;

mod audit;
mod credentials;
mod identity;
mod limits;
mod roles;

fn environment(name: &str) -> Option<OsString> {
    match name {
        "HOME" => Some("/home/ann".into()),
        "TOKEN" => Some("hunter2-of-the-environment".into()),
        "MAX" => Some("9".into()),
        "SEED" => Some("AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyA=".into()),
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

/// The configuration is right, and every warning is exactly this, in this order.
#[track_caller]
fn warned(text: &str, warnings: &[&str]) -> Config {
    let config = good(text);
    let found: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(found, warnings);
    config
}

#[test]
fn only_modules_are_believed_without_being_told_so() {
    let config = good(
        "servers: { m: { module: files }, doubted: { module: files, trust_annotations: false }, \
         p: { command: p }, u: { url: 'https://h/' }, believed: { command: p, trust_annotations: true } }",
    );
    let believed: Vec<&str> = config
        .servers
        .iter()
        .filter(|server| server.effects.trust_annotations)
        .map(|server| server.name.as_str())
        .collect();
    assert_eq!(believed, ["m", "believed"]);
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
trusted_proxies: []
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
            "line 18: trusted_proxies: this version does not have this yet; remove it",
        ],
    );
}

#[test]
fn what_others_call_a_section_is_led_home() {
    check(
        "auth: {}\nrbac: {}\nrate_limits: []\nmasking: []\nbinding: []\nindentity: {}\ntls: {}",
        &[
            "line 1: auth: unknown key; write `identity`",
            "line 2: rbac: unknown key; write `roles` and `bindings`",
            "line 3: rate_limits: unknown key; write `limits`",
            "line 4: masking: unknown key; write `audit: { mask: [name] }`",
            "line 5: binding: unknown key; did you mean `bindings`?",
            "line 6: indentity: unknown key; did you mean `identity`?",
            "line 7: tls: this version does not have this yet; remove it",
        ],
    );
}

#[test]
fn an_address_that_others_can_reach_is_refused() {
    check(
        "listen: 0.0.0.0:8080\nops: { listen: '[::]:9090' }",
        &[
            "line 1: listen: `0.0.0.0:8080` can be reached from other machines, and without `identity` nobody is asked \
             who they are; add `identity`, or listen on a loopback address (`127.0.0.1:8080`) or a Unix socket \
             (`unix:/run/gatepost.sock`)",
            "line 2: ops.listen: `[::]:9090` can be reached from other machines, and operators are not asked who they \
             are; listen on a loopback address (`127.0.0.1:9090`) or a Unix socket (`unix:/run/gatepost-ops.sock`) and \
             put a proxy that authenticates in front of it",
        ],
    );
}

#[test]
fn a_pasted_block_of_a_client_works_as_it_is() {
    let config = good(
        r#"{
	"mcpServers": {
		"files": {
			"type": "stdio",
			"command": "npx",
			"args": ["-y", "@modelcontextprotocol/server-filesystem", "/tmp"],
			"env": { "DEBUG": "1" },
			"autoApprove": ["read_file"],
			"disabled": false
		},
		"remote": { "type": "http", "url": "https://example.com/mcp", "headers": { "Authorization": "Bearer x" } },
		"old": { "type": "sse", "url": "http://127.0.0.1:9/sse" },
		"new": { "type": "streamableHttp", "url": "http://127.0.0.1:9/mcp" }
	}
}"#,
    );
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "line 8: servers.files.autoApprove: is a setting of a client and does nothing here; remove it, or leave it \
          for the client"
        ]
    );
    let transports = config.servers.iter().filter_map(|server| match &server.kind {
        ServerKind::Url { transport, .. } => Some(*transport),
        _ => None,
    });
    assert_eq!(
        transports.collect::<Vec<_>>(),
        [Transport::Auto, Transport::Sse, Transport::StreamableHttp]
    );
}

#[test]
fn secrets_never_reach_a_message() {
    const SECRET: &str = "hunter2-of-the-environment";
    let text = r#"
listen: "${env:TOKEN}"
http: { max_body: "${env:TOKEN}", hosts: ["a b${env:TOKEN}"], origins: ["${env:TOKEN}"], public_url: "x ${env:TOKEN}" }
telemetry: { log: "${env:TOKEN}" }
shutdown: { grace: "${env:TOKEN}" }
endpoints: { all: "${env:TOKEN}" }
sealing: { keys: ["${env:TOKEN}", "literal-too-short"] }
servers:
  a: { url: "https://user:${env:TOKEN}@host/", headers: { "X": "a\n${env:TOKEN}" } }
  b: { url: "https://literal-hunter3@host/", headers: { "X": "hunter3\n" } }
  c: { url: "${env:TOKEN}", timeout: "${env:TOKEN}", era: "${env:TOKEN}", concurrency: "${env:TOKEN}" }
  d: { command: x, env: { A: "hunter3\0" , "B=hunter": "hunter3" }, args: [{ a: hunter3 }], env2: hunter3 }
  e: { module: m, effects: { x: "${env:TOKEN}" } }
  f: { command: x, headers: [hunter3], env: hunter3 }
  g: { url: "https://h/", headers: { X: a }, credentials: [{ bearer: "hunter3 ${env:TOKEN}" }, { header: { X: "hunter3\n" } }] }
  h: { url: "https://h/", credentials: [{ basic: { username: "${env:TOKEN}:", password: "hunter3\0" } }] }
  i: { url: "https://h/", credentials: [{ bearer: [hunter3] }, { header: { X: { a: hunter3 } } }] }
  j: { url: "https://h/", credentials: [{ client_credentials: { token_url: "http://${env:TOKEN}/", client_id: x, client_secret: [hunter3], scopes: ["${env:TOKEN}\""] } }] }
identity: { cache: "${env:TOKEN}", jwt: [{ issuer: "${env:TOKEN}", jwks_url: "https://hunter3@h/", algorithms: ["${env:TOKEN}"], leeway: "${env:TOKEN}" }] }
limits: [{ per: "${env:TOKEN}", rate: "${env:TOKEN}" }, { per: ip, rate: "1/${env:TOKEN}", match: "" }]
quotas: [{ per: tool, calls: "${env:TOKEN}/day", bytes: "${env:TOKEN}" }]
audit:
  signing_key: hunter3-is-no-key
  segment: "${env:TOKEN}"
  sinks: [{ http: { url: "http://${env:TOKEN}/", headers: { "X": "hunter3\n" }, every: "${env:TOKEN}" } }]
views:
  v: { access: "${env:TOKEN}", rename: { "a__b": "${env:TOKEN} y", "a__c": "${env:TOKEN}", "a__d": "${env:TOKEN}" } }
"#;
    let problems = parse(text).unwrap_err();
    assert!(problems.count() > 40, "{problems}");
    let printed = format!(
        "{problems} {problems:?} {}",
        serde_json::to_string(&problems).unwrap()
    );
    for secret in [SECRET, "hunter3", "literal-too-short"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    let config = good(
        "servers: { a: { url: 'https://h/${env:TOKEN}' }, m: { module: m, options: { k: '${env:TOKEN}' } },\n\
         c: { command: '${env:TOKEN}', args: ['${env:TOKEN}'] },\n\
         u: { url: 'https://h/', credentials: [{ client_credentials: { token_url: 'https://h/${env:TOKEN}', client_id: \
         '${env:TOKEN}', client_secret: '${env:TOKEN}' } }] }, v: { url: 'https://h/', credentials: [{ header: { X: \
         '${env:TOKEN}' } }] } }\naudit: { sinks: [{ http: { url: 'https://h/${env:TOKEN}', headers: { X: '${env:TOKEN}' } \
         } }] }",
    );
    let printed = format!("{config:?} {config:#?}");
    assert!(!printed.contains(SECRET), "{printed}");
    let ServerKind::Url { url, .. } = &config.servers[0].kind else {
        panic!()
    };
    assert_eq!(
        (url.to_string().as_str(), url.uri().path()),
        ("[secret]", "/hunter2-of-the-environment")
    );
}

#[test]
fn servers_and_views_that_contradict_themselves() {
    check(
        r#"
servers:
  none: { timeout: 5s }
  kinds: { type: sse, command: x }
  twice: { type: sse, transport: streamable-http, url: "https://h/" }
  head: { url: "https://h/", headers: { Host: x, X-A: "1", x-a: "2", "b c": "3" } }
  zero: { command: "", timeout: 0s }
  crm: { module: m, effects: { "": read, "x": delete } }
  tenant: { module: m, isolation: tenants }
  ends_: { module: m }
  "my server": { module: m }
sealing: { keys: [short, aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa] }
views:
  a:
    rename:
      crm__a: x
      crm__b: x
      crm__*: "y z"
      nobody__c: z
      crm__d: zero__d
"#,
        &[
            "line 3: servers.none: says neither `module`, `command` nor `url`; keep exactly one of `module`, `command` \
             and `url`",
            "line 4: servers.kinds.type: `sse` belongs to a server with `url`, and this one has `command`; remove it",
            "line 5: servers.twice.type: `sse` contradicts `transport: streamable-http`; keep one of the two",
            "line 6: servers.head.headers.Host: is a header that the gate writes itself; remove it",
            "line 6: servers.head.headers.x-a: is there twice, in different letters; keep one of the two",
            "line 6: servers.head.headers.b c: is no name of a header; use letters, digits and `-`",
            "line 7: servers.zero.timeout: must be longer than nothing; write how long to wait, such as `30s`",
            "line 7: servers.zero.command: is empty; write the program's name or path",
            "line 8: servers.crm.effects.x: `delete` is not known here; write one of `read`, `write` and `destructive`",
            "line 8: servers.crm.effects.: the pattern is empty; write `*` to match every name",
            "line 9: servers.tenant.isolation: `tenants` is not known here; did you mean `tenant`? write one of `shared`, \
             `tenant`, `principal` and `session`",
            "line 10: servers.ends_: the name could not be told apart from what follows `__` in `server__tool`; use \
             letters, digits, `.`, `-` and single `_`, and begin with a letter or digit, such as `ends`",
            "line 11: servers.my server: the name has characters that tools' names and URLs cannot have; use letters, \
             digits, `.`, `-` and single `_`, and begin with a letter or digit, such as `my-server`",
            "line 12: sealing.keys[0]: is shorter than 32 characters; make one with `openssl rand -hex 32` and keep it \
             in a file",
            "line 12: sealing.keys[1]: repeats a few characters; make one with `openssl rand -hex 32` and keep it in a \
             file",
            "line 17: views.a.rename.crm__b: `x` is already the new name of `crm__a`; choose another name",
            "line 18: views.a.rename.crm__*: `y z` is no usable name; use 1 to 128 letters, digits, `.`, `-` and `_`",
            "line 19: views.a.rename.nobody__c: names no configured server; write the name with its prefix, \
             `server__tool`; patterns cannot be renamed",
            "line 20: views.a.rename.crm__d: `zero__d` could be a tool of another server; choose a name without a \
             server's prefix",
        ],
    );
}

#[test]
fn a_pattern_for_a_server_that_is_not_there_is_warned_about() {
    let config =
        good("servers: { crm: { module: m } }\nviews: { v: { include: ['crn__*', '*__get', 'c*__x'] } }");
    let warnings: Vec<String> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "line 2: views.v: the pattern `crn__*` names no server that is configured; check the part before `__`"
        ]
    );
}

#[test]
fn included_files_add_servers_and_views() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(
        "gatepost.yaml",
        "include: [conf.d/*.yaml, extra.json]\nservers: { own: { module: m } }\n",
    );
    write(
        "conf.d/b.yaml",
        "servers: { b: { command: x, cwd: here, env: { T: '${file:token}' } } }",
    );
    write(
        "conf.d/a.yaml",
        "servers: { a: { module: m } }\nviews: { v: { include: ['b__*'] } }",
    );
    write("conf.d/.hidden.yaml", "nonsense: true");
    write("conf.d/token", "t0ken\n");
    write("extra.json", r#"{"mcpServers": {"pasted": {"command": "x"}}}"#);
    let load = || Config::load_with(&folder.path().join("gatepost.yaml"), &environment);
    let config = load().unwrap_or_else(|problems| panic!("{problems}"));
    let names: Vec<&str> = config.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["own", "a", "b", "pasted"]);
    assert_eq!(config.folder, folder.path());
    let ServerKind::Command { cwd, env, .. } = &config.servers[2].kind else {
        panic!()
    };
    assert_eq!(cwd.as_deref(), Some(&*folder.path().join("conf.d/here")));
    assert_eq!(env[0].1.expose(), "t0ken");

    write(
        "conf.d/c.yaml",
        "servers:\n  own: { module: m }\n  b: { commnd: x }\nlisten: 127.0.0.1:1\n",
    );
    write("extra.json", "{\"servers\": ");
    let problems = load().unwrap_err();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let found: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 4, "{problems}");
    let twice = |line: u32, name: &str, first: &str| {
        format!(
            "{}:{line}: servers.{name}: is defined twice: first in {first}; rename one of the two",
            at("conf.d/c.yaml")
        )
    };
    assert_eq!(found[0], twice(2, "own", &format!("{}:2", at("gatepost.yaml"))));
    assert_eq!(found[1], twice(3, "b", &format!("{}:1", at("conf.d/b.yaml"))));
    assert_eq!(
        found[2],
        format!(
            "{}:4: listen: cannot stand in an included file, which may hold `servers` and `views` only; move it to the \
             main file",
            at("conf.d/c.yaml")
        )
    );
    assert!(found[3].starts_with(&at("extra.json")), "{problems}");
    assert!(problems.to_string().ends_with("\n4 problems"));

    write("gatepost.yaml", "include: [gone.yaml, none/*.yaml]");
    let problems = load().unwrap_err();
    assert_eq!(
        problems.to_string(),
        format!(
            "{}:1: include[0]: {} is no file; check the path\n1 problem",
            at("gatepost.yaml"),
            at("gone.yaml")
        )
    );
}

#[test]
fn a_file_that_is_not_there_says_so() {
    let problems = Config::load(Path::new("/nowhere/gatepost.yaml"))
        .unwrap_err()
        .to_string();
    assert!(
        problems.starts_with("/nowhere/gatepost.yaml: cannot be read: "),
        "{problems}"
    );
}

#[test]
fn problems_serialise_for_programs() {
    let problems = parse("http: { max_bdy: 1MiB }").unwrap_err();
    assert_eq!(
        serde_json::to_value(&problems).unwrap(),
        serde_json::json!([{
            "line": 1,
            "path": "http.max_bdy",
            "message": "unknown key",
            "remedy": "did you mean `max_body`?",
        }])
    );
}

#[test]
fn no_configuration_at_all_is_useful() {
    let config = Config::zero(Path::new("/some/where")).unwrap();
    let names: Vec<&str> = config.servers.iter().map(|server| server.name.as_str()).collect();
    assert_eq!(names, ["files", "calculator", "notes"]);
    assert_eq!(config.folder, Path::new("/some/where"));
    let ServerKind::Module { module, options } = &config.servers[0].kind else {
        panic!()
    };
    assert_eq!(module, "files");
    assert_eq!(options.expose()["root"], ".");
    assert_eq!(options.expose()["access"], "read");
    assert!(config.warnings.is_empty());
}

#[test]
fn a_home_is_needed_where_no_data_dir_is_set() {
    let nothing = |_: &str| None;
    let problems = Config::parse_in(Path::new("."), "", &nothing).unwrap_err();
    assert_eq!(problems.iter().next().unwrap().path, "data_dir");
    assert!(Config::parse_in(Path::new("."), "data_dir: x", &nothing).is_ok());
    let relative = |name: &str| match name {
        "XDG_STATE_HOME" => Some("relative".into()),
        "HOME" => Some("/home/ann".into()),
        _ => None,
    };
    let config = Config::parse_in(Path::new("."), "", &relative).unwrap();
    assert_eq!(config.data_dir, Path::new("/home/ann/.local/state/gatepost"));
}

/// A broken file is refused or accepted, but never more than that.
#[test]
fn damage_is_survived() {
    let text = include_str!("../examples.md");
    let blocks: Vec<&str> = text
        .split("```")
        .filter_map(|block| block.strip_prefix("yaml gatepost\n"))
        .collect();
    assert!(blocks.len() >= 3);
    for block in blocks {
        const DAMAGES: [&str; 13] = [
            "", "\t", "{", "]", ": ", "&a ", "*", "${", "\u{feff}", "\"", "- ", "|", "\0",
        ];
        for (at, c) in block.char_indices() {
            let damaged = match at % 4 {
                0 => block[..at].to_owned(),
                _ => format!(
                    "{}{}{}",
                    &block[..at],
                    DAMAGES[at % DAMAGES.len()],
                    &block[at + c.len_utf8()..]
                ),
            };
            let _ = parse(&damaged);
            let _ = import(&damaged, "secrets");
        }
    }
}

/// Who writes a whole line into `command` has it looked for as one program, which is told only when it is started.
#[test]
fn a_line_for_a_shell_is_no_program() {
    warned(
        "servers: { a: { command: 'npx -y server' } }",
        &[
            "line 1: servers.a.command: is one program's name, blanks included, and no line for a shell; write the program \
             alone, and what follows it into `args`",
        ],
    );
    warned(
        "servers: { a: { command: '/opt/My App/server' }, b: { command: npx, args: ['a b'] } }",
        &[],
    );
}

#[test]
fn one_mistake_in_a_server_is_one_problem() {
    check(
        "servers: { a: { url: example.com/mcp } }",
        &[
            "line 1: servers.a.url: is no URL; write it like `https://host/mcp`, special characters percent-encoded",
        ],
    );
    check(
        "audit: true",
        &["line 1: audit: expected a map, found a boolean; write it like `{}`"],
    );
    check(
        "audit: { sinks: [stdout] }",
        &["line 1: audit.sinks[0]: expected a map, found a text; write it like `stdout: {}`"],
    );
}
