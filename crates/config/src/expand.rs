//! `${env:NAME}`, `${env:NAME:-default}` and `${file:/path}` in the values of a configuration.
//!
//! What an expansion yields is never expanded again: a secret that happens to contain `${` stays what it is.

use std::{ffi::OsString, fs::File, io::Read, path::Path};

use crate::{
    problem::Place,
    reader::{Findings, join},
    tree::{Node, Spelling, Value},
    values::beside,
};

/// The largest file that `${file:…}` takes, in bytes.
const LARGEST_FILE: u64 = 64 << 10;

/// How environment variables are looked up.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Expands every text in the tree, in place. What fails becomes [`Value::Broken`] and a problem.
pub(crate) fn expand(node: &mut Node, path: &str, environment: Environment<'_>, findings: &mut Findings) {
    match &mut node.value {
        Value::Text(text) if text.text.contains("${") => match expanded(&text.text, &node.place, environment)
        {
            Ok(spelling) => *text = spelling,
            Err((message, remedy)) => {
                findings.problem(&node.place, path, message, remedy);
                node.value = Value::Broken;
            }
        },
        Value::List(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                expand(item, &format!("{path}[{at}]"), environment, findings);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                expand(&mut entry.node, &join(path, &entry.key), environment, findings);
            }
        }
        _ => {}
    }
}

/// A message and a remedy.
type Wrong = (String, String);

fn expanded(text: &str, place: &Place, environment: Environment<'_>) -> Result<Spelling, Wrong> {
    let mut result = Spelling {
        text: String::with_capacity(text.len()),
        expanded: false,
    };
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        // `$${` is how a literal `${` is written.
        if let Some(before) = rest[..start].strip_suffix('$') {
            result.text.push_str(before);
            result.text.push_str("${");
            rest = &rest[start + 2..];
            continue;
        }
        result.text.push_str(&rest[..start]);
        let Some(end) = rest[start..].find('}') else {
            return Err((
                "has a `${` without its `}`".to_owned(),
                "close it, or write `$${` for the text `${`".to_owned(),
            ));
        };
        result
            .text
            .push_str(&one(&rest[start + 2..start + end], place, environment)?);
        result.expanded = true;
        rest = &rest[start + end + 1..];
    }
    result.text.push_str(rest);
    Ok(result)
}

/// The value of what stands between `${` and `}`.
fn one(reference: &str, place: &Place, environment: Environment<'_>) -> Result<String, Wrong> {
    match reference.split_once(':') {
        Some(("env", variable)) => {
            let (name, default) = match variable.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (variable, None),
            };
            if !is_variable(name) {
                return Err((
                    "names no environment variable".to_owned(),
                    "write `${env:NAME}` or `${env:NAME:-default}`".to_owned(),
                ));
            }
            match environment(name).map(OsString::into_string) {
                // As in a shell, `:-` also stands in for a variable that is empty.
                Some(Ok(value)) if !value.is_empty() || default.is_none() => Ok(value),
                Some(Err(_)) => Err((
                    format!("the environment variable {name} is not UTF-8"),
                    "set it to text".to_owned(),
                )),
                _ => default.map(str::to_owned).ok_or_else(|| {
                    (
                        format!("the environment variable {name} is not set"),
                        format!("set it, or write `${{env:{name}:-default}}`"),
                    )
                }),
            }
        }
        Some(("file", path)) => file(&beside(place, path)),
        _ if is_variable(reference.split(':').next().unwrap_or_default()) => {
            let name = reference.split(':').next().unwrap_or_default();
            let rest = &reference[name.len()..];
            Err((
                format!(
                    "`${{{}}}` does not say where the value comes from",
                    gatepost_policy::Printable(reference)
                ),
                if rest.is_empty() || rest.starts_with(":-") {
                    format!(
                        "write `${{env:{reference}}}` for the environment variable, or `$${{` for the text `${{`"
                    )
                } else {
                    "write `${env:NAME}`, `${env:NAME:-default}` or `${file:/path}`".to_owned()
                },
            ))
        }
        _ => Err((
            "has a `${` that is no expansion".to_owned(),
            "write `${env:NAME}`, `${env:NAME:-default}` or `${file:/path}`, or `$${` for the text `${`"
                .to_owned(),
        )),
    }
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The text of a secret's file, without one trailing line end.
fn file(path: &Path) -> Result<String, Wrong> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        (
            format!("the file {shown} cannot be read: {error}"),
            "check the path and the permissions".to_owned(),
        )
    };
    // The kind is looked at first: opening a pipe would wait for its other end.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err((
            format!("{shown} is no regular file"),
            "write the path of a regular file".to_owned(),
        ));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err((
            format!("the file {shown} is larger than 64 KiB"),
            "write the path of a file that holds one secret".to_owned(),
        ));
    }
    let mut text = String::from_utf8(bytes).map_err(|_| {
        (
            format!("the file {shown} is not UTF-8"),
            "save it as text".to_owned(),
        )
    })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<OsString> {
        match name {
            "TOKEN" => Some("s3cret".into()),
            "EMPTY" => Some("".into()),
            "NESTED" => Some("${env:TOKEN}".into()),
            _ => None,
        }
    }

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        let result = expanded(text, &Place::default(), &environment);
        match (result, expected) {
            (Ok(spelling), Ok(wanted)) => assert_eq!(spelling.text, wanted),
            (Err((message, remedy)), Err(wanted)) => assert_eq!(format!("{message}; {remedy}"), wanted),
            (result, _) => panic!("{text:?} gave {result:?}"),
        }
    }

    #[test]
    fn environment_variables() {
        check("Bearer ${env:TOKEN}!", Ok("Bearer s3cret!"));
        check("${env:TOKEN}${env:TOKEN}", Ok("s3crets3cret"));
        check("${env:GONE:-}", Ok(""));
        check("${env:GONE:-a:-b}", Ok("a:-b"));
        check("${env:EMPTY:-filled}", Ok("filled"));
        check("${env:EMPTY}", Ok(""));
        check("${env:NESTED}", Ok("${env:TOKEN}"));
        check("$${env:TOKEN} costs 5$", Ok("${env:TOKEN} costs 5$"));
        check(
            "${env:GONE}",
            Err("the environment variable GONE is not set; set it, or write `${env:GONE:-default}`"),
        );
    }

    #[test]
    fn what_is_no_expansion_says_what_would_be() {
        check(
            "${TOKEN}",
            Err(
                "`${TOKEN}` does not say where the value comes from; write `${env:TOKEN}` for the environment variable, \
                 or `$${` for the text `${`",
            ),
        );
        check(
            "${env:A",
            Err("has a `${` without its `}`; close it, or write `$${` for the text `${`"),
        );
        check(
            "${env:}",
            Err("names no environment variable; write `${env:NAME}` or `${env:NAME:-default}`"),
        );
        for odd in ["${}", "${:x}", "${vault:x}", "${env}", "${1}"] {
            assert!(expanded(odd, &Place::default(), &environment).is_err(), "{odd}");
        }
    }

    #[test]
    fn files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let reference = format!("${{file:{}}}", file.display());
        std::fs::write(&file, "s3cret\r\n").unwrap();
        check(&reference, Ok("s3cret"));
        std::fs::write(&file, "${env:TOKEN}\n\n").unwrap();
        check(&reference, Ok("${env:TOKEN}\n"));
        std::fs::write(&file, vec![b'x'; 64 << 10]).unwrap();
        check(&reference, Ok(&"x".repeat(64 << 10)));
        std::fs::write(&file, vec![b'x'; (64 << 10) + 1]).unwrap();
        let too_large = expanded(&reference, &Place::default(), &environment)
            .unwrap_err()
            .0;
        assert!(too_large.ends_with("is larger than 64 KiB"), "{too_large}");
        let no_file = format!("${{file:{}}}", folder.path().display());
        let no_file = expanded(&no_file, &Place::default(), &environment).unwrap_err().0;
        assert!(no_file.ends_with("is no regular file"), "{no_file}");
    }
}
