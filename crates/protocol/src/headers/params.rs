//! `x-mcp-header`: tool parameters that are mirrored into `Mcp-Param-*` headers (Custom Headers from Tool Parameters).

use std::borrow::Cow;

use super::{HeaderMismatch, Sent, decode_value, encode_value};
use crate::json::{self, Kind, Span, Strictness};

const ANNOTATION: &str = "x-mcp-header";

/// More mirrored parameters than this no tool can mean: HTTP servers refuse a request with that many headers.
const MAX_PARAMS: usize = 64;

/// The mirrored parameters of one tool, compiled from its input schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderParams {
    params: Vec<HeaderParam>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct HeaderParam {
    /// The whole header name, `Mcp-Param-…`.
    header: String,
    /// The chain of `properties` keys from the root.
    path: Vec<String>,
}

/// Why a tool's annotations make the whole tool invalid: it is left out of lists (Schema Extension).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAnnotation {
    /// The schema is not JSON, or too deep to look at.
    #[error("inputSchema: {0}")]
    Schema(#[from] json::JsonError),
    /// The value is no string.
    #[error("x-mcp-header must be a string")]
    NotText,
    /// The value is no RFC 9110 token; that includes the empty one.
    #[error("x-mcp-header '{0}' is no header name: it must be an RFC 9110 token")]
    NotToken(String),
    /// Two parameters want one header.
    #[error("x-mcp-header '{0}' is used twice (names compare without case)")]
    Repeated(String),
    /// More than 64 parameters are mirrored.
    #[error("more than {MAX_PARAMS} parameters have x-mcp-header")]
    TooMany,
    /// Only integers, strings and booleans may be mirrored.
    #[error("x-mcp-header '{0}' is on a parameter whose type is not integer, string or boolean")]
    NotPrimitive(String),
    /// Only what a chain of `properties` reaches from the root may be mirrored.
    #[error("x-mcp-header is on something that is not reached by `properties` alone")]
    NotReachable,
}

/// Keywords whose values are data, where `x-mcp-header` would be a word like any other.
const DATA: [&str; 4] = ["default", "const", "enum", "examples"];
/// Keywords that map names to schemas.
const MAPS: [&str; 5] = [
    "properties",
    "patternProperties",
    "$defs",
    "definitions",
    "dependentSchemas",
];

impl HeaderParams {
    /// Reads the annotations of a tool's `inputSchema`. `None` if there are none, which is the usual, cheap case.
    ///
    /// # Errors
    /// The first constraint that is violated. Such a tool is not to be listed at all.
    pub fn compile(schema: &[u8]) -> Result<Option<Self>, InvalidAnnotation> {
        // A key can hide behind escapes.
        if memchr::memmem::find(schema, b"mcp-header").is_none()
            && memchr::memmem::find(schema, b"\\u").is_none()
        {
            return Ok(None);
        }
        let root = json::validate(schema, Strictness::Edge)?;
        let mut params: Vec<HeaderParam> = Vec::new();
        // Schemas still to look at, with the path that reaches them, if one does.
        let mut open: Vec<(Span, Option<Vec<String>>)> = vec![(root, Some(Vec::new()))];
        while let Some((span, path)) = open.pop() {
            if json::kind(schema, span) == Some(Kind::Array) {
                open.extend(json::items(schema, span).map(|item| (item, None)));
                continue;
            }
            let Ok(members) = json::object(schema, span) else {
                continue;
            };
            for member in &members {
                let key = json::text(schema, member.key).unwrap_or_default();
                if key == ANNOTATION {
                    let kind = members.get(schema, "type");
                    let header = annotation(schema, member.value, kind, path.as_deref())?;
                    if params
                        .iter()
                        .any(|param| param.header.eq_ignore_ascii_case(&header.header))
                    {
                        return Err(InvalidAnnotation::Repeated(header.header));
                    }
                    if params.len() == MAX_PARAMS {
                        return Err(InvalidAnnotation::TooMany);
                    }
                    params.push(header);
                } else if MAPS.contains(&&*key) {
                    let Ok(named) = json::object(schema, member.value) else {
                        continue;
                    };
                    for entry in &named {
                        let step = path
                            .as_ref()
                            .filter(|_| key == "properties")
                            .zip(json::text(schema, entry.key));
                        let reached = step.map(|(path, name)| {
                            let mut path = path.clone();
                            path.push(name.into_owned());
                            path
                        });
                        open.push((entry.value, reached));
                    }
                } else if !DATA.contains(&&*key) {
                    open.push((member.value, None));
                }
            }
        }
        Ok((!params.is_empty()).then_some(Self { params }))
    }

    /// Checks the `Mcp-Param-*` headers of a call against its arguments. `arguments` is the validated raw JSON of
    /// `params.arguments`, if it was sent; `lookup` gives what the request has for a header name, case ignored.
    ///
    /// # Errors
    /// The first header that is missing, malformed or says something else than the arguments. Numbers compare by value.
    pub fn validate<'a>(
        &self,
        arguments: Option<&[u8]>,
        lookup: impl Fn(&str) -> Sent<'a>,
    ) -> Result<(), HeaderMismatch> {
        for param in &self.params {
            let header = || param.header.clone();
            let value = arguments.and_then(|raw| param.value(raw));
            let sent = match (lookup(&param.header), value) {
                (Sent::Absent, None) => continue,
                (Sent::Absent, Some(value)) if primitive(value).is_none() => continue,
                (Sent::Absent, Some(_)) => return Err(HeaderMismatch::Missing { header: header() }),
                (Sent::Repeated, _) => return Err(HeaderMismatch::Repeated { header: header() }),
                (Sent::Once(value), _) => decode_value(value).map_err(|why| HeaderMismatch::Malformed {
                    header: header(),
                    why,
                })?,
            };
            let Some(value) = value else {
                return Err(HeaderMismatch::Unexpected { header: header() });
            };
            let agrees = match json::kind(value, Span::all(value)) {
                Some(Kind::String) => json::equals(value, Span::all(value), &sent),
                Some(Kind::Number) => {
                    Decimal::parse(sent.as_bytes()).is_some_and(|sent| Some(sent) == Decimal::parse(value))
                }
                Some(Kind::Bool) => sent.as_bytes() == value,
                _ => false,
            };
            if !agrees {
                return Err(HeaderMismatch::differs(
                    &param.header,
                    &sent,
                    &String::from_utf8_lossy(value),
                ));
            }
        }
        Ok(())
    }

    /// Gives the headers a call needs to `emit(name, value)`, encoded. Parameters that are absent or `null` have none.
    pub fn emit(&self, arguments: Option<&[u8]>, mut emit: impl FnMut(&str, &str)) {
        let Some(arguments) = arguments else { return };
        for param in &self.params {
            if let Some(text) = param.value(arguments).and_then(primitive) {
                emit(&param.header, &encode_value(&text));
            }
        }
    }
}

impl HeaderParam {
    /// The raw value at the parameter's path; `null` counts as none.
    fn value<'a>(&self, arguments: &'a [u8]) -> Option<&'a [u8]> {
        let mut span = Span::all(arguments);
        for key in &self.path {
            span = json::object(arguments, span).ok()?.get(arguments, key)?;
        }
        (json::kind(arguments, span) != Some(Kind::Null)).then(|| span.of(arguments))
    }
}

fn annotation(
    schema: &[u8],
    value: Span,
    kind: Option<Span>,
    path: Option<&[String]>,
) -> Result<HeaderParam, InvalidAnnotation> {
    let name = json::text(schema, value).ok_or(InvalidAnnotation::NotText)?;
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err(InvalidAnnotation::NotToken(name.into_owned()));
    }
    let Some(path) = path.filter(|path| !path.is_empty()) else {
        return Err(InvalidAnnotation::NotReachable);
    };
    let primitive = kind.is_some_and(|kind| {
        ["integer", "string", "boolean"]
            .iter()
            .any(|name| json::equals(schema, kind, name))
    });
    if !primitive {
        return Err(InvalidAnnotation::NotPrimitive(name.into_owned()));
    }
    Ok(HeaderParam {
        header: format!("Mcp-Param-{name}"),
        path: path.to_vec(),
    })
}

/// RFC 9110 §5.6.2, `tchar`.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// The text a primitive value is mirrored as (Value Encoding, Type conversion). Integers written `4.0` or `4e0` become
/// `4`.
fn primitive(value: &[u8]) -> Option<Cow<'_, str>> {
    let span = Span::all(value);
    match json::kind(value, span)? {
        Kind::String => json::text(value, span),
        Kind::Bool => std::str::from_utf8(value).ok().map(Cow::Borrowed),
        Kind::Number => match Decimal::parse(value).and_then(|number| number.integer()) {
            Some(digits) => Some(Cow::Owned(digits)),
            None => std::str::from_utf8(value).ok().map(Cow::Borrowed),
        },
        _ => None,
    }
}

/// A JSON number by value, however large or precise: ± digits × 10^exponent, without zeros at either end.
#[derive(Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    fn parse(raw: &[u8]) -> Option<Self> {
        let span = json::validate(raw, Strictness::Edge).ok()?;
        if json::kind(raw, span) != Some(Kind::Number) {
            return None;
        }
        let raw = span.of(raw);
        let (negative, raw) = raw.strip_prefix(b"-").map_or((false, raw), |rest| (true, rest));
        let mark = raw
            .iter()
            .position(|byte| matches!(byte, b'e' | b'E'))
            .unwrap_or(raw.len());
        let (mantissa, power) = raw.split_at(mark);
        let power = match power {
            [_, power @ ..] => std::str::from_utf8(power).ok()?.parse::<i64>().ok()?,
            [] => 0,
        };
        let fraction = mantissa
            .iter()
            .position(|&byte| byte == b'.')
            .map_or(0, |dot| mantissa.len() - dot - 1);
        let mut digits: Vec<u8> = mantissa.iter().copied().filter(u8::is_ascii_digit).collect();
        let mut exponent = power.checked_sub(i64::try_from(fraction).ok()?)?;
        while digits.last() == Some(&b'0') {
            digits.pop();
            exponent = exponent.checked_add(1)?;
        }
        let leading = digits.iter().take_while(|&&digit| digit == b'0').count();
        digits.drain(..leading);
        if digits.is_empty() {
            return Some(Self {
                negative: false,
                digits,
                exponent: 0,
            });
        }
        Some(Self {
            negative,
            digits,
            exponent,
        })
    }

    /// The digits of an integer that is not absurdly long.
    fn integer(&self) -> Option<String> {
        if self.digits.is_empty() {
            return Some("0".into());
        }
        let zeros = usize::try_from(self.exponent).ok().filter(|&zeros| zeros <= 64)?;
        let mut text = String::from(if self.negative { "-" } else { "" });
        text.extend(self.digits.iter().map(|&digit| char::from(digit)));
        text.extend(std::iter::repeat_n('0', zeros));
        Some(text)
    }
}
