//! `docs/protections.md` says which test shows what. Here it is made sure that there are such tests.

use std::{collections::BTreeSet, fs, path::Path};

fn sources(folder: &Path, all: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

/// The names of all functions that are tests, each with the file it is in.
fn tests() -> BTreeSet<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut all = Vec::new();
    sources(&root.join("crates"), &mut all);
    let mut found = BTreeSet::new();
    for path in all {
        let text = fs::read_to_string(&path).unwrap();
        let file = path.strip_prefix(&root).unwrap().display().to_string();
        let mut is_test = false;
        for line in text.lines().map(str::trim_start) {
            if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if is_test && !line.starts_with("#[") {
                let name = line.trim_start_matches("async ").strip_prefix("fn ");
                if let Some(name) = name.and_then(|rest| rest.split('(').next()) {
                    found.insert((name.to_owned(), file.clone()));
                    is_test = false;
                }
            }
        }
    }
    found
}

#[test]
fn every_protection_names_a_test_that_exists() {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/protections.md")).unwrap();
    let tests = tests();
    let (mut rows, mut wrong) = (0, Vec::new());
    let table = page
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| ---"));
    for row in table {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [threat, _, place, shown] = cells[..] else {
            wrong.push(format!("four columns: {row}"));
            continue;
        };
        if threat == "threat" {
            continue;
        }
        rows += 1;
        let quoted =
            |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
        let (places, named) = (quoted(place), quoted(shown));
        if places.is_empty() || named.is_empty() {
            wrong.push(format!("it names no place or no test: {row}"));
        }
        for place in places {
            if !Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("..")
                .join(&place)
                .exists()
            {
                wrong.push(format!("there is no crates/{place}: {row}"));
            }
        }
        for name in named {
            let (file, test) = name.rsplit_once("::").unwrap_or(("", &name));
            let end = format!("{}.rs", file.replace("::", "/"));
            let exists = tests.iter().any(|(known, at)| {
                known == test && (file.is_empty() || at.ends_with(&end) || at.contains(&format!("/{file}/")))
            });
            if !exists {
                wrong.push(format!("there is no test `{name}`: {row}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows > 40, "{rows} rows were read");
}
