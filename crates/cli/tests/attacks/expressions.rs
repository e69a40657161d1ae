//! Conditions that would take for ever are refused before a gate begins.

use std::process::Command;

use crate::house::GATEPOST;

fn check(condition: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let configuration = serde_json::json!({
        "servers": { "notes": { "module": "notes" } },
        "identity": { "api_keys": true },
        "audit": {},
        "roles": { "one": { "allow": ["*"], "when": condition } },
    });
    std::fs::write(folder.path().join("gatepost.yaml"), configuration.to_string()).unwrap();
    let output = Command::new(GATEPOST)
        .arg("check")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn an_expression_bomb_does_not_load() {
    let nested = (0..6).fold("1 == 1".to_owned(), |inner, depth| {
        format!("args.list.exists(x{depth}, {inner})")
    });
    let bombs = [
        ("six macros within each other", nested),
        (
            "three of map",
            "args.l.map(a, args.l.map(b, args.l.map(c, c))) == []".to_owned(),
        ),
        (
            "many brackets",
            format!("{}true{}", "(".repeat(300), ")".repeat(300)),
        ),
        (
            "many lists",
            format!("{}{} == []", "[".repeat(300), "]".repeat(300)),
        ),
        ("many nots", format!("{}true", "!".repeat(1001))),
        ("a long one", format!("args.x == \"{}\"", "a".repeat(5000))),
        ("many terms", vec!["args.x == 1"; 300].join(" || ")),
        ("many choices", format!("{}true", "true ? true : ".repeat(200))),
        (
            "a regular expression that goes back",
            "args.x.matches('(a*)*(a*)*(a*)*(a*)*(a{1000}){1000}')".to_owned(),
        ),
        ("what is no condition", "args.x.delete_everything()".to_owned()),
        ("a number", "1 + 1".to_owned()),
        ("nothing", String::new()),
        ("not to its end", "args.x ==".to_owned()),
    ];
    for (what, bomb) in bombs {
        let (good, said) = check(&bomb);
        assert!(!good && said.contains("roles.one.when"), "{what}: {said}");
        assert!(said.len() < 4000, "{what}: the answer is {} bytes", said.len());
    }
    let (good, said) =
        check("args.list.exists(x, args.list.exists(y, x == y)) && now > timestamp('2020-01-01T00:00:00Z')");
    assert!(good, "{said}");
}
