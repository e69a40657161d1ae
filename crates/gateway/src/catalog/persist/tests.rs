use futures_util::FutureExt;
use gatepost_policy::Caller;

use super::*;
use crate::{
    catalog::{
        Catalog,
        fake::{Fake, all, plan, sealer},
        view::EndpointName,
    },
    upstream::Asker,
};

fn listing() -> Listing {
    let mut tools = Build::new(ListKind::Tools, false, Bounds::default());
    tools.item(Bytes::from_static(
        br#"{ "name":"a\u0062", "big":123456789012345678901234567890 }"#,
    ));
    tools.item(Bytes::from_static(br#"{"name":"z"}"#));
    let mut tools = tools.finish();
    tools.ttl = Some(std::time::Duration::from_secs(5));
    tools.private = true;
    tools.meta = Some(Bytes::from_static(br#"{"m":1}"#));
    tools.extra = vec![(Bytes::from_static(b"\"x\""), Bytes::from_static(b"[1, 2]"))];
    let about = About {
        version: Version::V2025_06_18,
        extra: vec![("o\"dd".into(), Bytes::from_static(b"1.0"))],
        capabilities: Bytes::from_static(br#"{"tools":{},"vendor":1.0}"#),
        info: Some(Bytes::from_static(br#"{"name":"n","version":"1"}"#)),
        instructions: Some("say \"hi\"".into()),
    };
    let mut lists = ListKind::ALL.map(|_| Arc::default());
    lists[0] = Arc::new(tools);
    Listing { about, lists }
}

#[test]
fn what_was_kept_comes_back_to_the_byte() {
    let kept = listing();
    let raw = Bytes::from(encode(&kept, "one"));
    serde_json::from_slice::<serde_json::Value>(&raw).unwrap();
    let back = decode(&raw, "one", false).unwrap();
    assert_eq!(back.about, kept.about);
    for kind in ListKind::ALL {
        assert!(back.list(kind).same(kept.list(kind)), "{kind}");
    }
}

#[test]
fn what_is_damaged_or_of_another_configuration_is_ignored() {
    let raw = encode(&listing(), "one");
    assert!(decode(&raw.clone().into(), "two", false).is_none());
    let text = String::from_utf8(raw).unwrap();
    let newer = text.replacen("\"format\":1", "\"format\":2", 1);
    let shapeless = text.replacen("\"prompts\":{", "\"prompts_\":{", 1);
    for bad in [
        newer,
        shapeless,
        "{}".to_owned(),
        "[]".to_owned(),
        String::new(),
        text[..text.len() / 2].to_owned(),
    ] {
        assert!(decode(&bad.clone().into(), "one", false).is_none(), "{bad}");
    }
}

#[test]
fn a_file_is_replaced_and_private() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("catalogs");
    assert!(load(&folder, "s", "one", false).is_none());
    save(&folder, "s", b"old and longer than the new one").unwrap();
    save(&folder, "s", &encode(&listing(), "one")).unwrap();
    assert!(load(&folder, "s", "one", false).is_some());
    let names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["s.json"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            fs::metadata(folder.join("s.json")).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}

#[test]
fn no_name_leaves_the_folder() {
    assert_eq!(file_name("my-server_1"), "my-server_1.json");
    assert_eq!(file_name("../up"), "%2e%2e%2fup.json");
    assert_eq!(file_name("é"), "%c3%a9.json");
}

#[tokio::test]
async fn a_server_that_is_down_keeps_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("catalogs");
    let catalog =
        |fake: &Arc<Fake>| Catalog::build(vec![plan(fake)], vec![all()], Some(folder.clone()), sealer());
    let up = Arc::new(Fake::new("s").tools(&["kept"]));
    let first = catalog(&up);
    first.start();
    // Written in the background, so wait for it as another process would.
    while load(&folder, "s", "one", false).is_none() {
        tokio::task::yield_now().await;
    }
    first.stop();
    let down = Arc::new(Fake::new("s"));
    down.set_down(true);
    let second = catalog(&down);
    let view = second.view(&EndpointName::All).unwrap();
    assert!(view.tool("s__kept").is_some());
    let page = view.page(ListKind::Tools, Version::LATEST_LEGACY, None).unwrap();
    assert_eq!(page.result, r#"{"tools":[{"name":"s__kept"}]}"#);
    // It is known, so nobody waits for it.
    second
        .settled(&EndpointName::All, Asker::plain(&Caller::local()))
        .now_or_never()
        .unwrap();
    assert_eq!(down.greeted(), 0);
}

#[test]
fn another_command_is_another_server_and_another_token_is_not() {
    use gatepost_config::{Secret, ServerKind, Text};
    // Only what `identity` reads of the kind matters here; the rest of a server is the same by construction.
    let kind = |program: &str, token: &str| ServerKind::Command {
        program: Text::plain(program),
        args: vec![Text::hidden(token)],
        env: vec![("TOKEN".into(), Secret::new(token))],
        cwd: None,
    };
    let print = |kind: &ServerKind| format!("{kind:?}");
    assert_eq!(print(&kind("npx", "a")), print(&kind("npx", "b")));
    assert_ne!(print(&kind("npx", "a")), print(&kind("uvx", "a")));
    assert!(!print(&kind("npx", "hunter2")).contains("hunter2"));
}
