//! JSON of which every reader makes the same.
//!
//! RFC 7519 §4 lets a reader refuse names that come twice in one object or take the last; readers that take the first are
//! about as well. What is checked here must be what everybody else sees, so such a text is refused, at any depth.

use std::{collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// What `text` says, if it is one JSON object and no name comes twice in any object of it.
pub(crate) fn object(text: &[u8]) -> Result<Map<String, Value>, serde_json::Error> {
    match serde_json::from_slice(text)? {
        Strict(Value::Object(object)) => Ok(object),
        Strict(_) => Err(serde_json::Error::custom("not an object")),
    }
}

/// The text that the member `name` of an object is, `None` if it is not there. Nothing else is kept of the object, however
/// large it is: for what is looked at before anybody has vouched for it.
pub(crate) fn member(text: &[u8], name: &'static str) -> Result<Option<String>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let found = One(name).deserialize(&mut reader)?;
    reader.end()?;
    Ok(found)
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        reader.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("a number that is none"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            if all.insert(name, value).is_some() {
                return Err(A::Error::custom("a name comes twice in one object"));
            }
        }
        Ok(Value::Object(all))
    }
}

struct One(&'static str);

impl<'de> DeserializeSeed<'de> for One {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Self::Value, D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for One {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut seen = HashSet::new();
        let mut found = None;
        while let Some(name) = members.next_key::<String>()? {
            if name == self.0 {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
            if !seen.insert(name) {
                return Err(A::Error::custom("a name comes twice in one object"));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_what_everybody_reads() {
        let text = br#"{"a":{"b":[1,-2,2.5,true,null,"x\n"]},"c":18446744073709551615}"#;
        let expected: Map<String, Value> = serde_json::from_slice(text).unwrap();
        assert_eq!(object(text).unwrap(), expected);
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"{"a":1}{}"#,
            r#"{"a":1} x"#,
            r#"["a"]"#,
            r#""a""#,
            r#"{"a":1,}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1e999}"#,
            "",
            "\u{feff}{}",
        ] {
            assert!(object(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(object(b"{\"a\":\"\xff\"}").is_err());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(object(deep.as_bytes()).is_err());
    }

    #[test]
    fn one_member_is_found_without_keeping_the_others() {
        let check = |text: &str| member(text.as_bytes(), "iss");
        assert_eq!(check(r#"{"a":[1],"iss":"x"}"#).unwrap().as_deref(), Some("x"));
        assert_eq!(check(r#"{"a":{"iss":"y"}}"#).unwrap(), None);
        for bad in [
            r#"{"iss":"x","iss":"x"}"#,
            r#"{"iss":"x","\u0069ss":"x"}"#,
            r#"{"iss":"x","a":1,"a":1}"#,
            r#"{"iss":1}"#,
            r#"{"iss":null}"#,
            r#"{"iss":["x"]}"#,
            r#"{"iss":"x"} "#.trim_end().strip_suffix('}').unwrap(),
            r#"{"iss":"x"}{}"#,
            r#"["iss"]"#,
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
