//! Arguments of tools and prompts, as people type them.

use std::{io::Read, path::Path};

use serde_json::{Map, Value};

use crate::{exit, failure::Failure};

/// The largest file that `--args @FILE` takes, in bytes: more than any gate accepts by default.
const LARGEST_FILE: u64 = 64 << 20;

/// How arguments are given.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ArgumentArgs {
    /// The arguments as a JSON object; `@FILE` reads them from a file, `-` from stdin
    #[arg(long, value_name = "JSON", conflicts_with = "arg")]
    args: Option<String>,
    /// One argument, of the type that its schema says; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    arg: Vec<String>,
}

impl ArgumentArgs {
    /// Whether a schema is needed to understand them.
    pub(crate) fn need_schema(&self) -> bool {
        !self.arg.is_empty()
    }

    /// The arguments as raw JSON; what was given as JSON stays as it was written. `None` when none were given.
    ///
    /// # Errors
    /// When they are none, or do not fit `schema`, a JSON Schema of an object.
    pub(crate) fn json(&self, schema: &Value) -> Result<Option<String>, Failure> {
        if let Some(given) = &self.args {
            return object(given).map(Some);
        }
        if self.arg.is_empty() {
            return Ok(None);
        }
        let mut members = Map::new();
        for argument in &self.arg {
            let (name, value) = argument.split_once('=').ok_or_else(|| {
                usage(
                    format!("--arg: `{argument}` has no `=`"),
                    "write `--arg name=value`",
                )
            })?;
            let value = typed(name, value, &schema["properties"][name]["type"])?;
            if members.insert(name.to_owned(), value).is_some() {
                return Err(usage(
                    format!("--arg {name}: is given twice"),
                    "give it once; a list is one value, such as `--arg names='[\"a\", \"b\"]'`",
                ));
            }
        }
        Ok(Some(Value::Object(members).to_string()))
    }

    /// The same where every value is text, as a prompt's are.
    ///
    /// # Errors
    /// When they are none.
    pub(crate) fn texts(&self) -> Result<Option<String>, Failure> {
        let names = self
            .arg
            .iter()
            .filter_map(|argument| Some(argument.split_once('=')?.0.to_owned()));
        let properties: Map<String, Value> = names
            .map(|name| (name, serde_json::json!({ "type": "string" })))
            .collect();
        self.json(&serde_json::json!({ "properties": properties }))
    }
}

/// What is given to `--args`: a JSON object as it was written, or in the file after an `@`, or on stdin for `-` and `@-`.
///
/// # Errors
/// When it is none, or cannot be read.
pub(crate) fn object(given: &str) -> Result<String, Failure> {
    let text = match (given, given.strip_prefix('@')) {
        ("-", _) => read(given)?,
        (_, Some(file)) => read(file)?,
        (_, None) => given.to_owned(),
    };
    match serde_json::from_str::<Map<String, Value>>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(usage(
            format!("--args: no JSON object: {error}"),
            "write `--args '{\"name\": \"value\"}'`",
        )),
    }
}

/// A value of the type that the schema wants. Where it wants none in particular, what reads as JSON is JSON.
fn typed(name: &str, text: &str, wanted: &Value) -> Result<Value, Failure> {
    let wants = |kind: &str| match wanted {
        Value::String(one) => one == kind,
        Value::Array(several) => several.iter().any(|one| one == kind),
        _ => false,
    };
    let parsed = serde_json::from_str::<Value>(text);
    let fits = |value: &Value| match value {
        Value::Null => wants("null"),
        Value::Bool(_) => wants("boolean"),
        Value::Number(number) => wants("number") || (wants("integer") && !number.is_f64()),
        Value::String(_) => false,
        Value::Array(_) => wants("array"),
        Value::Object(_) => wants("object"),
    };
    match parsed {
        Ok(value) if wanted.is_null() || fits(&value) => Ok(value),
        _ if wanted.is_null() || wants("string") => Ok(text.into()),
        _ => Err(usage(
            format!("--arg {name}: `{text}` is not of the type that the schema says: {wanted}"),
            "give the value as JSON, such as `3`, `true`, `[1, 2]`",
        )),
    }
}

fn read(file: &str) -> Result<String, Failure> {
    let mut text = String::new();
    let done = if file == "-" {
        std::io::stdin()
            .lock()
            .take(LARGEST_FILE)
            .read_to_string(&mut text)
    } else {
        std::fs::File::open(Path::new(file))
            .and_then(|file| file.take(LARGEST_FILE).read_to_string(&mut text))
    };
    done.map_err(|error| {
        usage(
            format!("--args: failed to read {file}: {error}"),
            "check the path",
        )
    })?;
    Ok(text)
}

fn usage(message: String, remedy: &str) -> Failure {
    Failure::new(message, remedy).code(exit::USAGE)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given(args: Option<&str>, arg: &[&str]) -> ArgumentArgs {
        ArgumentArgs {
            args: args.map(str::to_owned),
            arg: arg.iter().map(ToString::to_string).collect(),
        }
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "the calls read better")]
    fn check(argument: &str, wanted: Value, expected: Option<Value>) {
        let schema = json!({ "properties": { "a": { "type": wanted } } });
        let value = given(None, &[argument]).json(&schema).ok().flatten();
        let value = value.map(|text| serde_json::from_str::<Value>(&text).unwrap()["a"].take());
        assert_eq!(value, expected, "{argument}");
    }

    #[test]
    fn the_schema_says_what_a_value_is() {
        check("a=01234", json!("string"), Some(json!("01234")));
        check("a=7", json!("string"), Some(json!("7")));
        check("a=7", json!("integer"), Some(json!(7)));
        check("a=7.5", json!("integer"), None);
        check("a=7.5", json!("number"), Some(json!(7.5)));
        check("a=yes", json!("boolean"), None);
        check("a=[1]", json!("array"), Some(json!([1])));
        check("a=null", json!(["string", "null"]), Some(Value::Null));
        check("a=x=y", json!(["string", "null"]), Some(json!("x=y")));
        check("a=7", Value::Null, Some(json!(7)));
        check("a=seven", Value::Null, Some(json!("seven")));
        check("a=", json!("string"), Some(json!("")));
        check("a", json!("string"), None);
    }

    /// Which of the two was meant is not ours to guess.
    #[test]
    fn an_argument_is_given_once() {
        let failure = given(None, &["a=1", "b=2", "a=3"])
            .json(&Value::Null)
            .unwrap_err();
        assert!(
            matches!(&failure, Failure::Told { message, .. } if message == "--arg a: is given twice"),
            "{failure:?}"
        );
    }

    #[test]
    fn json_stays_as_it_was_written() {
        let text = r#"{"z": 1, "a": 123456789012345678901234567890}"#;
        assert_eq!(
            given(Some(text), &[]).json(&Value::Null).unwrap().as_deref(),
            Some(text)
        );
        for wrong in ["", "[1]", "7", "{", "@/does/not/exist"] {
            assert!(given(Some(wrong), &[]).json(&Value::Null).is_err(), "{wrong}");
        }
        assert_eq!(given(None, &[]).json(&Value::Null).unwrap(), None);
    }

    #[test]
    fn arguments_of_prompts_are_texts() {
        assert_eq!(
            given(None, &["n=7"]).texts().unwrap().as_deref(),
            Some(r#"{"n":"7"}"#)
        );
    }
}
