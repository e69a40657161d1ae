//! Functions and conversions.
//!
//! Source: CEL language definition, Standard Definitions.

use std::rc::Rc;

use super::{
    eval::{Answer, Machine, Stop, no_overload},
    expr::Function,
    failure::FailureCause,
    time,
    value::{Blob, Text, Value},
};

impl<'a> Machine<'a> {
    /// A function of one argument.
    pub(super) fn call(&mut self, at: u32, function: Function, of: &Value<'a>) -> Answer<'a> {
        if let Value::Text(text) = of {
            self.fuel.read(text.len())?;
        }
        let result = match function {
            Function::Size => return self.size(at, of),
            Function::Bool => to_bool(of),
            Function::Int => to_int(of),
            Function::Uint => to_uint(of),
            Function::Double => to_double(of),
            Function::Text => to_text(of),
            Function::Bytes => to_bytes(of),
            Function::Timestamp => to_timestamp(of),
            Function::Duration => to_duration(of),
            Function::Contains | Function::StartsWith | Function::EndsWith => Err(Trouble::Overload),
        };
        result.map_err(|trouble| match trouble {
            Trouble::Overload => no_overload(at, function.name(), of, None),
            Trouble::Conversion => Stop::failed(at, FailureCause::Conversion(function.name())),
            Trouble::Overflow => Stop::failed(at, FailureCause::Overflow),
        })
    }

    fn size(&mut self, at: u32, of: &Value<'a>) -> Answer<'a> {
        let length = match of {
            Value::Text(text) => Some(text.chars().count()),
            Value::Bytes(bytes) => Some(bytes.len()),
            other => self.length(at, other)?,
        };
        let length = length.ok_or_else(|| no_overload(at, "size", of, None))?;
        Ok(Value::Int(i64::try_from(length).unwrap_or(i64::MAX)))
    }

    /// A function of two strings.
    pub(super) fn search(
        &mut self,
        at: u32,
        function: Function,
        text: &Value<'a>,
        part: &Value<'a>,
    ) -> Answer<'a> {
        let (Value::Text(inside), Value::Text(wanted)) = (text, part) else {
            return Err(no_overload(at, function.name(), text, Some(part)));
        };
        let found = match function {
            Function::Contains => {
                self.fuel.read(inside.len() + wanted.len())?;
                inside.contains(&**wanted)
            }
            Function::StartsWith => {
                self.fuel.read(wanted.len())?;
                inside.starts_with(&**wanted)
            }
            Function::EndsWith => {
                self.fuel.read(wanted.len())?;
                inside.ends_with(&**wanted)
            }
            _ => return Err(no_overload(at, function.name(), text, Some(part))),
        };
        Ok(Value::Bool(found))
    }
}

enum Trouble {
    Overload,
    Conversion,
    Overflow,
}

type Converted<'a> = Result<Value<'a>, Trouble>;

fn to_bool<'a>(of: &Value<'a>) -> Converted<'a> {
    match of {
        Value::Bool(_) => Ok(of.clone()),
        Value::Text(text) => match &**text {
            "1" | "t" | "true" | "TRUE" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "false" | "FALSE" | "False" => Ok(Value::Bool(false)),
            _ => Err(Trouble::Conversion),
        },
        _ => Err(Trouble::Overload),
    }
}

fn to_int<'a>(of: &Value<'a>) -> Converted<'a> {
    let number = match of {
        Value::Int(_) => return Ok(of.clone()),
        Value::Uint(number) => i64::try_from(*number).map_err(|_| Trouble::Overflow)?,
        // Towards zero. Both ends are powers of two, so they are doubles.
        Value::Double(number)
            if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(number) =>
        {
            *number as i64
        }
        Value::Double(_) => return Err(Trouble::Overflow),
        Value::Text(text) => digits(text, true)?.parse().map_err(|_| Trouble::Conversion)?,
        Value::Timestamp(nanos) => {
            i64::try_from(nanos.div_euclid(time::SECOND)).map_err(|_| Trouble::Overflow)?
        }
        _ => return Err(Trouble::Overload),
    };
    Ok(Value::Int(number))
}

fn to_uint<'a>(of: &Value<'a>) -> Converted<'a> {
    let number = match of {
        Value::Uint(_) => return Ok(of.clone()),
        Value::Int(number) => u64::try_from(*number).map_err(|_| Trouble::Overflow)?,
        Value::Double(number) if (0.0..18_446_744_073_709_551_616.0).contains(number) => *number as u64,
        Value::Double(_) => return Err(Trouble::Overflow),
        Value::Text(text) => digits(text, false)?.parse().map_err(|_| Trouble::Conversion)?,
        _ => return Err(Trouble::Overload),
    };
    Ok(Value::Uint(number))
}

/// Only digits, after a minus where there may be one: `parse` would take a plus too.
fn digits(text: &str, signed: bool) -> Result<&str, Trouble> {
    let digits = text.strip_prefix('-').filter(|_| signed).unwrap_or(text);
    let proper = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if proper {
        Ok(text)
    } else {
        Err(Trouble::Conversion)
    }
}

fn to_double<'a>(of: &Value<'a>) -> Converted<'a> {
    match of {
        Value::Double(_) => Ok(of.clone()),
        Value::Int(number) => Ok(Value::Double(*number as f64)),
        Value::Uint(number) => Ok(Value::Double(*number as f64)),
        Value::Text(text) => text.parse().map(Value::Double).map_err(|_| Trouble::Conversion),
        _ => Err(Trouble::Overload),
    }
}

fn to_text<'a>(of: &Value<'a>) -> Converted<'a> {
    let text = match of {
        Value::Text(_) => return Ok(of.clone()),
        Value::Bool(value) => value.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Bytes(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| Trouble::Conversion)?
            .to_owned(),
        Value::Timestamp(nanos) => time::print_timestamp(*nanos),
        Value::Duration(nanos) => time::print_duration(*nanos),
        _ => return Err(Trouble::Overload),
    };
    Ok(Value::Text(Text::Made(text.into())))
}

fn to_bytes<'a>(of: &Value<'a>) -> Converted<'a> {
    match of {
        Value::Bytes(_) => Ok(of.clone()),
        Value::Text(text) => {
            let bytes: Rc<[u8]> = text.as_bytes().into();
            Ok(Value::Bytes(Blob::Made(bytes)))
        }
        _ => Err(Trouble::Overload),
    }
}

fn to_timestamp<'a>(of: &Value<'a>) -> Converted<'a> {
    match of {
        Value::Timestamp(_) => Ok(of.clone()),
        Value::Int(seconds) => {
            let nanos = i128::from(*seconds) * time::SECOND;
            time::timestamp(nanos)
                .map(Value::Timestamp)
                .ok_or(Trouble::Overflow)
        }
        Value::Text(text) => time::parse_timestamp(text)
            .map(Value::Timestamp)
            .ok_or(Trouble::Conversion),
        _ => Err(Trouble::Overload),
    }
}

fn to_duration<'a>(of: &Value<'a>) -> Converted<'a> {
    match of {
        Value::Duration(_) => Ok(of.clone()),
        Value::Text(text) => time::parse_duration(text)
            .map(Value::Duration)
            .ok_or(Trouble::Conversion),
        _ => Err(Trouble::Overload),
    }
}
