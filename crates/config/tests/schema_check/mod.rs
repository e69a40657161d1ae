//! As much of JSON Schema 2020-12 as our schema uses; any other keyword fails, so that nothing goes unchecked.

use serde_json::Value;

/// Whether `value` fits `schema`; otherwise where and why not.
pub(crate) fn check(root: &Value, schema: &Value, value: &Value, path: &str) -> Result<(), String> {
    if let Some(accepts_all) = schema.as_bool() {
        return if accepts_all {
            Ok(())
        } else {
            Err(format!("{path}: nothing fits"))
        };
    }
    let fits = |schema: &Value| check(root, schema, value, path).is_ok();
    for (keyword, expected) in schema.as_object().ok_or("the schema is no object")? {
        let fine = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "deprecated" => true,
            // These two are looked at together with `properties`.
            "additionalProperties" | "properties" => true,
            "$ref" => {
                let pointer = expected
                    .as_str()
                    .and_then(|text| text.strip_prefix('#'))
                    .ok_or("a foreign $ref")?;
                check(root, root.pointer(pointer).ok_or("a dangling $ref")?, value, path)?;
                true
            }
            "type" => match expected {
                Value::Array(types) => types.iter().any(|name| has_type(value, name)),
                name => has_type(value, name),
            },
            "enum" => list(expected)?.contains(value),
            "minimum" => value
                .as_f64()
                .is_none_or(|number| Some(number) >= expected.as_f64()),
            "maximum" => value
                .as_f64()
                .is_none_or(|number| Some(number) <= expected.as_f64()),
            "minLength" => length(value).is_none_or(|length| Some(length) >= expected.as_u64()),
            "maxLength" => length(value).is_none_or(|length| Some(length) <= expected.as_u64()),
            "pattern" => {
                let pattern = expected.as_str().ok_or("a pattern that is no text")?;
                let pattern = regex::Regex::new(pattern).map_err(|error| error.to_string())?;
                value.as_str().is_none_or(|text| pattern.is_match(text))
            }
            "minItems" => value
                .as_array()
                .is_none_or(|items| Some(items.len() as u64) >= expected.as_u64()),
            "items" => {
                for (at, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, expected, item, &format!("{path}[{at}]"))?;
                }
                true
            }
            "required" => value.as_object().is_none_or(|map| {
                expected
                    .as_array()
                    .into_iter()
                    .flatten()
                    .all(|key| map.contains_key(key.as_str().unwrap_or_default()))
            }),
            "anyOf" => list(expected)?.iter().any(fits),
            "oneOf" => list(expected)?.iter().filter(|schema| fits(schema)).count() == 1,
            "not" => !fits(expected),
            other => {
                return Err(format!(
                    "the schema uses `{other}`, which this check does not know"
                ));
            }
        };
        if !fine {
            return Err(format!("{path}: `{keyword}` is not met"));
        }
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{key}");
        let property = schema
            .get("properties")
            .and_then(|properties| properties.get(key));
        if let Some(schema) = property.or_else(|| schema.get("additionalProperties")) {
            check(root, schema, value, &path)?;
        }
    }
    Ok(())
}

fn length(value: &Value) -> Option<u64> {
    value.as_str().map(|text| text.chars().count() as u64)
}

fn list(value: &Value) -> Result<&Vec<Value>, String> {
    value
        .as_array()
        .ok_or_else(|| "the schema has no list where one belongs".to_owned())
}

fn has_type(value: &Value, name: &Value) -> bool {
    match name.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("number") => value.is_number(),
        Some("integer") => value.is_u64() || value.is_i64(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    }
}
