//! Commands that talk to nobody, as a shell sees them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on says where"
)]

mod program;

use std::fs;

use program::Folder;
use serde_json::Value;

#[test]
fn check_says_what_is_wrong_and_where() {
    let folder = Folder::new();
    folder.write(
        "gatepost.yaml",
        "servers:\n  a: { command: x, timout: 30s }\n  b: { module: calculater }\n",
    );
    let done = folder.run(&["check"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(
        done.stdout.contains("gatepost.yaml:2: error: servers.a.timout"),
        "{done:?}"
    );
    assert!(done.stdout.contains("`timeout`"), "{done:?}");

    let done = folder.run(&["check", "--json"]);
    assert_eq!(done.code, 3, "{done:?}");
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (&report["ok"], &report["problems"][0]["line"]),
        (&Value::Bool(false), &2.into())
    );
}

#[test]
fn check_asks_the_modules_about_their_options() {
    let folder = Folder::new();
    folder.write(
        "gatepost.yaml",
        "servers:\n  a: { module: files, options: { rot: . } }\n  b: { module: calculater }\n  c:\n    module: files\n    \
         options:\n      access: read\n      root: ./none\n",
    );
    let done = folder.run(&["check"]);
    assert_eq!(done.code, 3, "{done:?}");
    for told in [
        "gatepost.yaml:2: error: servers.a.options.rot: the module `files` has no option `rot`\n    \
         help: did you mean `root`? it takes root, access\n",
        "gatepost.yaml:3: error: servers.b: there is no module `calculater`\n    help: did you mean `calculator`? the modules are",
        "gatepost.yaml:8: error: servers.c.options.root: ",
        "    help: name a folder that exists and that the gate may read\n",
    ] {
        assert!(done.stdout.contains(told), "{told} is not in {}", done.stdout);
    }
    assert!(!done.stdout.contains("/./"), "{}", done.stdout);
}

#[test]
fn check_needs_no_configuration() {
    let folder = Folder::new();
    let done = folder.run(&["check"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(
        done.stdout.contains("no configuration: fine") && done.stdout.contains("module calculator"),
        "{done:?}"
    );
    // Nothing was started, and nothing written.
    assert_eq!(folder.entries(), Vec::<String>::new());
}

#[test]
fn a_configuration_that_is_not_there() {
    let folder = Folder::new();
    let done = folder.run(&["serve", "-c", "none.yaml"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(
        done.stdout.is_empty() && done.stderr.contains("none.yaml"),
        "{done:?}"
    );
}

#[test]
fn the_command_line_is_checked() {
    let folder = Folder::new();
    assert_eq!(folder.run(&["frobnicate"]).code, 2);
    assert_eq!(folder.run(&["list", "--url", "http://x/", "--", "y"]).code, 2);
    assert_eq!(folder.run(&["list", "--url", "not a url"]).code, 2);
    let done = folder.run(&["serve", "--listen", "0.0.0.0:80"]);
    assert_eq!(done.code, 3, "{done:?}");
    assert!(
        done.stderr.contains("other machines") && done.stderr.contains("127.0.0.1"),
        "{done:?}"
    );
}

#[test]
fn the_schema_is_one() {
    let done = Folder::new().run(&["schema"]);
    let schema: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
}

#[test]
fn completions_know_the_commands() {
    let done = Folder::new().run(&["completions", "bash"]);
    assert!(
        done.code == 0 && done.stdout.contains("complete") && done.stdout.contains("stdio"),
        "{done:?}"
    );
}

/// `gatepost schema | head -1` is no error.
#[test]
#[cfg(unix)]
fn a_reader_that_leaves_is_no_error() {
    let folder = Folder::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let done = folder.command(&["schema"]).stdout(writer).output().unwrap();
    assert!(done.status.success() && done.stderr.is_empty(), "{done:?}");
}

const CLIENT: &str = r#"{
  // VS Code allows comments
  "mcpServers": {
    "git hub": { "command": "npx", "args": ["-y", "x"], "env": { "GITHUB_TOKEN": "ghp_0123456789abcdefghijABCDEFGHIJ0123456789" } },
    "docs": { "url": "https://docs.example.com/mcp" },
  }
}"#;

#[test]
fn import_moves_secrets_out_and_overwrites_nothing() {
    let folder = Folder::new();
    folder.write("client.json", CLIENT);

    let plan = folder.run(&["import", "client.json", "--dry-run"]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(
        plan.stdout.contains("servers:") && !plan.stdout.contains("ghp_"),
        "{plan:?}"
    );
    assert!(plan.stderr.contains("would write gatepost.yaml"), "{plan:?}");
    assert_eq!(folder.entries(), ["client.json"]);

    let done = folder.run(&["import", "client.json"]);
    assert_eq!(done.code, 0, "{done:?}");
    assert!(done.stderr.contains("2 servers: git-hub, docs"), "{done:?}");
    assert!(
        done.stderr.contains("gatepost serve -c gatepost.yaml"),
        "{done:?}"
    );
    assert!(!done.stderr.contains("ghp_"), "{done:?}");
    assert!(!folder.read("gatepost.yaml").contains("ghp_"));
    let secrets = folder.path().join("gatepost.secrets");
    let files: Vec<_> = fs::read_dir(&secrets)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    let secret = files
        .iter()
        .find(|file| {
            file.extension().is_none_or(|extension| extension != "gitignore") && !file.ends_with(".gitignore")
        })
        .unwrap();
    assert_eq!(
        fs::read_to_string(secret).unwrap(),
        "ghp_0123456789abcdefghijABCDEFGHIJ0123456789"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(secret), mode(&secrets)), (0o600, 0o700));
    }
    assert_eq!(folder.run(&["check"]).code, 0);

    folder.write("gatepost.yaml", "mine: true\n");
    let again = folder.run(&["import", "client.json"]);
    assert_eq!(again.code, 1, "{again:?}");
    assert!(
        again.stderr.contains("gatepost.yaml exists already") || again.stderr.contains("exist"),
        "{again:?}"
    );
    assert_eq!(folder.read("gatepost.yaml"), "mine: true\n");
    assert_eq!(folder.run(&["import", "client.json", "--force"]).code, 0);
    assert!(folder.read("gatepost.yaml").contains("git-hub"));
}

#[test]
fn import_as_json() {
    let folder = Folder::new();
    folder.write("client.json", CLIENT);
    let done = folder.run(&["import", "client.json", "--dry-run", "--json"]);
    let plan: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(
        (
            plan["written"].as_bool(),
            plan["secrets"].as_array().unwrap().len()
        ),
        (Some(false), 1)
    );
    assert!(!done.stdout.contains("ghp_"), "{done:?}");
    let nothing = folder.run(&["import", "gone.json"]);
    assert!(
        nothing.code == 1 && nothing.stderr.contains("gone.json"),
        "{nothing:?}"
    );
}
