use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::symlink,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::testing::{BOTH, Caller, Era};

/// A folder with everything in it that may be seen and everything that may not.
struct Folder {
    _all: TempDir,
    root: PathBuf,
    data_dir: PathBuf,
}

fn folder() -> Folder {
    let all = tempfile::tempdir().unwrap();
    let root = all.path().join("served");
    let data_dir = root.join("state");
    for directory in [
        "served/src/deep",
        "served/state",
        "served/.git",
        "outside",
        "served/docs",
    ] {
        fs::create_dir_all(all.path().join(directory)).unwrap();
    }
    for (path, text) in [
        ("served/readme.md", "# Hello\nWörld\nthe end\n"),
        ("served/src/main.rs", "fn main() {\n    todo\n}\n"),
        ("served/src/deep/a b.txt", "needle in a haystack\n"),
        ("served/.env", "SECRET=needle\n"),
        ("served/.git/config", "needle\n"),
        ("served/state/notes.db", "needle\n"),
        ("outside/secret.txt", "needle\n"),
    ] {
        fs::write(all.path().join(path), text).unwrap();
    }
    fs::write(root.join("pixel.png"), b"\x89PNG\0\0").unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("pipe"), rustix::fs::Mode::RWXU).unwrap();
    for (target, link) in [
        ("../outside/secret.txt", "out.txt"),
        ("../outside", "out"),
        ("/etc/passwd", "passwd"),
        (".env", "env.txt"),
        ("state", "db"),
        ("state/notes.db", "db.txt"),
        ("src/main.rs", "main.txt"),
        ("src/../src/deep", "deep"),
        ("loop", "loop"),
        ("gone", "dangling"),
        ("pipe", "pipe.txt"),
        (".", "self"),
    ] {
        symlink(target, root.join(link)).unwrap();
    }
    Folder {
        _all: all,
        root,
        data_dir,
    }
}

fn open(folder: &Folder) -> Arc<dyn Module> {
    let context = Context {
        data_dir: folder.data_dir.clone(),
        folder: folder.root.clone(),
    };
    let none = serde_json::Map::new();
    Arc::new(module(&Options::new("files", &none), &context).unwrap())
}

fn strings(values: &Value, key: &str) -> Vec<String> {
    values
        .as_array()
        .unwrap()
        .iter()
        .map(|value| value[key].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn the_tools_show_the_folder_in_both_eras() {
    let folder = folder();
    let files = open(&folder);
    for era in BOTH {
        let mut caller = Caller::connect(&files, era).await;
        let names = [
            "directory_tree",
            "file_info",
            "list_directory",
            "read_file",
            "search_files",
            "search_text",
        ];
        let tools = caller.check_tools(&names).await;
        for tool in tools.as_array().unwrap() {
            assert_eq!(tool["annotations"]["readOnlyHint"], true, "{tool}");
        }
        let listed = caller.value("list_directory", json!({})).await;
        let expected = [
            "deep",
            "docs",
            "main.txt",
            "pixel.png",
            "readme.md",
            "self",
            "src",
        ];
        assert_eq!(strings(&listed["entries"], "name"), expected);
        assert_eq!(listed["entries"][4]["size"], 23);
        assert_eq!(listed["entries"][2]["kind"], "file", "a link is what it leads to");
        assert!(listed["entries"][4]["modified"].as_str().unwrap().ends_with('Z'));

        let tree = caller.text("directory_tree", json!({})).await;
        let expected = "./\n  deep/\n  docs/\n  main.txt\n  pixel.png\n  readme.md\n  self/\n  src/\n    deep/\n      \
                        a b.txt\n    main.rs\n";
        assert_eq!(tree, expected);
        assert_eq!(
            caller
                .text("directory_tree", json!({"path": "src", "depth": 1}))
                .await,
            "src/\n  deep/\n  main.rs\n"
        );

        assert_eq!(
            caller.text("read_file", json!({"path": "readme.md"})).await,
            "# Hello\nWörld\nthe end\n"
        );
        let result = caller
            .call("read_file", json!({"path": "readme.md", "offset": 2, "limit": 1}))
            .await;
        assert_eq!(result["content"][0]["text"], "Wörld\n");
        assert_eq!(
            result["content"][1]["text"],
            "[lines 2 to 2; there is more, go on with offset 3]"
        );
        let image = caller.call("read_file", json!({"path": "pixel.png"})).await;
        assert_eq!(
            image["content"][0],
            json!({"type": "image", "data": "iVBORwAA", "mimeType": "image/png"})
        );

        let info = caller.value("file_info", json!({"path": "deep/a b.txt"})).await;
        assert_eq!(
            (&info["path"], &info["size"]),
            (&json!("src/deep/a b.txt"), &json!(21))
        );
        assert_eq!(
            (&info["mime_type"], &info["is_text"]),
            (&json!("text/plain"), &json!(true))
        );

        let found = caller
            .value("search_files", json!({"pattern": "*.{rs,txt}"}))
            .await;
        assert_eq!(
            strings(&found["matches"], "path"),
            ["main.txt", "src/deep/a b.txt", "src/main.rs"]
        );
        let found = caller
            .value("search_text", json!({"query": "NEEDLE", "ignore_case": true}))
            .await;
        let expected = json!([{"path": "src/deep/a b.txt", "line": 1, "text": "needle in a haystack"}]);
        assert_eq!(found["matches"], expected, "nothing hidden is searched: {found}");
        let found = caller
            .value(
                "search_text",
                json!({"query": "^\\s+t", "regex": true, "glob": "src/**"}),
            )
            .await;
        assert_eq!(found["matches"][0]["line"], 2);
        let found = caller
            .value("search_text", json!({"query": "end", "path": "readme.md"}))
            .await;
        assert_eq!(found["matches"][0]["line"], 3);
    }
}

#[tokio::test]
async fn nothing_leads_out_of_the_folder_or_to_what_is_hidden() {
    let folder = folder();
    let mut caller = Caller::connect(&open(&folder), Era::Modern).await;
    let outside = folder.root.parent().unwrap().join("outside/secret.txt");
    let inside = folder.root.join("readme.md");
    assert!(
        caller
            .text("read_file", json!({"path": inside.to_str().unwrap()}))
            .await
            .starts_with("# Hello")
    );
    assert!(
        caller
            .text("read_file", json!({"path": "self/src/../self/./main.txt"}))
            .await
            .starts_with("fn main")
    );
    for (path, expected) in [
        ("../outside/secret.txt", "outside the served folder"),
        ("src/../../outside/secret.txt", "outside the served folder"),
        ("deep/../../../outside/secret.txt", "outside the served folder"),
        (outside.to_str().unwrap(), "outside the served folder"),
        ("/etc/passwd", "outside the served folder"),
        ("out.txt", "outside the served folder"),
        ("out/secret.txt", "outside the served folder"),
        ("passwd", "outside the served folder"),
        (".env", "hidden"),
        ("env.txt", "hidden"),
        (".git/config", "hidden"),
        ("src/../.env", "hidden"),
        ("state/notes.db", "there is no"),
        ("db/notes.db", "there is no"),
        ("db.txt", "there is no"),
        ("pipe", "neither a file nor a directory"),
        ("pipe.txt", "neither a file nor a directory"),
        ("loop", "too many links"),
        ("dangling", "there is no"),
        ("none", "there is no"),
        ("readme.md/x", "not a directory"),
        ("src", "is a directory"),
        ("", "is a directory"),
        ("a\0b", "zero byte"),
        ("..", "outside the served folder"),
    ] {
        let said = caller.failure("read_file", json!({"path": path})).await;
        assert!(said.contains(expected), "{path}: {said}");
        assert!(!said.contains("needle"), "{said}");
        let uri = format!("file:///{}", path.replace("..", "%2E%2E").replace('\0', "%00"));
        let answer = caller.ask("resources/read", json!({"uri": uri})).await;
        assert_eq!(answer["error"]["code"], -32602, "{uri}: {answer}");
    }
    let long = "a/".repeat(3000);
    assert!(
        caller
            .failure("read_file", json!({"path": long}))
            .await
            .contains("longer than")
    );
    assert!(
        caller
            .failure("list_directory", json!({"path": "state"}))
            .await
            .contains("there is no")
    );
    assert!(
        caller
            .failure("list_directory", json!({"path": "readme.md"}))
            .await
            .contains("not a directory")
    );
}

#[tokio::test]
async fn a_data_directory_made_later_or_renamed_stays_hidden() {
    let folder = folder();
    fs::remove_dir_all(&folder.data_dir).unwrap();
    let mut caller = Caller::connect(&open(&folder), Era::Legacy).await;
    fs::create_dir(&folder.data_dir).unwrap();
    fs::write(folder.data_dir.join("key"), "needle").unwrap();
    assert!(
        caller
            .failure("read_file", json!({"path": "state/key"}))
            .await
            .contains("there is no")
    );
    let found = caller.value("search_text", json!({"query": "needle"})).await;
    assert_eq!(strings(&found["matches"], "path"), ["src/deep/a b.txt"]);
}

/// What [`Root::find`] does after it has looked at a name, when the name has become something else meanwhile.
#[test]
fn opening_follows_no_link_and_waits_for_no_pipe() {
    let folder = folder();
    let root = Root::open(&folder.root, &folder.data_dir).unwrap();
    let top = root.find_directory("").unwrap();
    for link in ["out", "db", "self", "deep"] {
        assert!(root.enter(&top, OsStr::new(link)).is_err(), "{link}");
    }
    for link in ["out.txt", "passwd", "env.txt", "main.txt"] {
        assert!(top.open_file(OsStr::new(link)).is_err(), "{link}");
    }
    assert!(top.open_file(OsStr::new("pipe")).unwrap().is_none());
    assert!(top.open_file(OsStr::new("src")).unwrap().is_none());
    assert!(root.enter(&top, OsStr::new("state")).unwrap().is_none());
}

#[test]
fn a_link_that_is_swapped_in_never_gives_what_is_outside() {
    let folder = folder();
    let root = Root::open(&folder.root, &folder.data_dir).unwrap();
    let (here, there) = (folder.root.join("here"), folder.root.join("there"));
    fs::create_dir(&here).unwrap();
    fs::write(here.join("secret.txt"), "fine").unwrap();
    symlink("../outside", &there).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let swapper = {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let done = done.clone();
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                renameat_with(CWD, &here, CWD, &there, RenameFlags::EXCHANGE).unwrap();
            }
        })
    };
    for _ in 0..5_000 {
        if let Ok(opened) = root.find_file("here/secret.txt") {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut { opened.file }, &mut text).unwrap();
            assert_eq!(text, "fine");
        }
    }
    done.store(true, Ordering::Relaxed);
    swapper.join().unwrap();
}

#[tokio::test]
async fn large_files_and_folders_get_bounded_answers() {
    let folder = folder();
    let huge = fs::File::create(folder.root.join("huge.bin")).unwrap();
    huge.set_len(1 << 40).unwrap();
    let line = "0123456789\n";
    fs::write(folder.root.join("long.txt"), line.repeat(100_000)).unwrap();
    fs::write(folder.root.join("wide.txt"), "x".repeat(2_000_000)).unwrap();
    let many = folder.root.join("docs");
    for number in 0..1_100 {
        fs::write(many.join(format!("f{number:04}")), "x").unwrap();
    }
    let mut caller = Caller::connect(&open(&folder), Era::Modern).await;
    let said = caller.failure("read_file", json!({"path": "huge.bin"})).await;
    assert!(
        said.contains("application/octet-stream, 1099511627776 bytes"),
        "{said}"
    );
    let answer = caller
        .ask("resources/read", json!({"uri": "file:///long.txt"}))
        .await;
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("read_file reads texts in parts"),
        "{answer}"
    );
    let result = caller.call("read_file", json!({"path": "long.txt"})).await;
    assert_eq!(
        result["content"][0]["text"].as_str().unwrap().len(),
        2_000 * line.len()
    );
    let result = caller
        .call("read_file", json!({"path": "long.txt", "offset": 99_999}))
        .await;
    assert_eq!(
        result["content"][1]["text"],
        "[lines 99999 to 100000, the end of the file]"
    );
    let said = caller
        .failure("read_file", json!({"path": "long.txt", "offset": 100_001}))
        .await;
    assert!(said.contains("fewer than 100001 lines"), "{said}");
    let result = caller.call("read_file", json!({"path": "wide.txt"})).await;
    assert!(result["content"][0]["text"].as_str().unwrap().len() <= text::MAX_TEXT);
    assert!(
        result["content"][1]["text"]
            .as_str()
            .unwrap()
            .contains("too long")
    );

    let found = caller
        .value(
            "search_text",
            json!({"query": "9", "path": "long.txt", "limit": 5}),
        )
        .await;
    assert_eq!(found["matches"].as_array().unwrap().len(), 5);
    assert!(
        found["incomplete"]
            .as_str()
            .unwrap()
            .contains("more than `limit`")
    );
    let found = caller.value("search_text", json!({"query": "nowhere"})).await;
    assert_eq!(found["skipped"], 2, "the picture and the huge file: {found}");
    let found = caller
        .value(
            "search_files",
            json!({"pattern": "f*", "path": "docs", "limit": 1000}),
        )
        .await;
    assert!(found["incomplete"].is_string());
    let page = caller
        .value("list_directory", json!({"path": "docs", "offset": 1_000}))
        .await;
    assert_eq!(
        (page["entries"].as_array().unwrap().len(), page.get("next_offset")),
        (100, None)
    );
    let page = caller.value("list_directory", json!({"path": "docs"})).await;
    assert_eq!(page["next_offset"], 200);
    assert!(
        caller
            .text("directory_tree", json!({}))
            .await
            .ends_with("or fewer levels]\n")
    );
    for (tool, arguments, expected) in [
        (
            "search_text",
            json!({"query": "("  , "regex": true}),
            "does not compile",
        ),
        ("search_text", json!({"query": ""}), "pattern is empty"),
        ("search_files", json!({"pattern": "{a"}), "unclosed"),
        (
            "read_file",
            json!({"path": "readme.md", "lines": 3}),
            "unknown field `lines`",
        ),
    ] {
        let said = caller.failure(tool, arguments).await;
        assert!(said.contains(expected), "{said}");
    }
}

#[tokio::test]
async fn files_are_resources() {
    let folder = folder();
    for number in 0..450 {
        fs::write(folder.root.join(format!("docs/f{number:03}")), "x").unwrap();
    }
    for (era, missing) in [(Era::Legacy, -32002), (Era::Modern, -32602)] {
        let mut caller = Caller::connect(&open(&folder), era).await;
        let (mut uris, mut params) = (Vec::new(), json!({}));
        loop {
            let page = caller.result("resources/list", params).await;
            uris.extend(strings(&page["resources"], "uri"));
            match page.get("nextCursor") {
                Some(cursor) => params = json!({"cursor": cursor}),
                None => break,
            }
        }
        assert_eq!(uris.len(), 454, "{uris:?}");
        assert_eq!(
            uris[..3],
            ["file:///pixel.png", "file:///readme.md", "file:///docs/f000"]
        );
        assert_eq!(uris[453], "file:///src/deep/a%20b.txt");
        let mut unique = uris.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), uris.len());

        let read = caller
            .result("resources/read", json!({"uri": "file:///src/deep/a%20b.txt"}))
            .await;
        assert_eq!(read["contents"][0]["text"], "needle in a haystack\n");
        assert_eq!(read["contents"][0]["mimeType"], "text/plain");
        let read = caller
            .result("resources/read", json!({"uri": "file:///pixel.png"}))
            .await;
        assert_eq!(read["contents"][0]["blob"], "iVBORwAA");
        let answer = caller.ask("resources/read", json!({"uri": "file:///none"})).await;
        assert_eq!(answer["error"]["code"], missing, "{answer}");

        let templates = caller.result("resources/templates/list", json!({})).await;
        assert_eq!(
            templates["resourceTemplates"][0]["uriTemplate"],
            "file:///{+path}"
        );
        for (typed, expected) in [
            ("s", json!(["src/"])),
            ("src/d", json!(["src/deep/"])),
            (".", json!([])),
            ("st", json!([])),
        ] {
            let params = json!({"ref": {"type": "ref/resource", "uri": "file:///{+path}"},
                                "argument": {"name": "path", "value": typed}});
            assert_eq!(
                caller.result("completion/complete", params).await["completion"]["values"],
                expected,
                "{typed}"
            );
        }
    }
}
