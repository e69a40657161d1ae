//! Arithmetic: of one type each, and an overflow is an error, never a wrapped or rounded number.
//!
//! Source: CEL language definition, Overflow; Timestamp and Duration arithmetic.

use std::rc::Rc;

use super::{
    eval::{Answer, Stop, no_overload},
    expr::Operator,
    failure::FailureCause,
    fuel::Fuel,
    time,
    value::{Blob, Text, Value},
};

pub(super) fn negate<'a>(at: u32, of: &Value<'a>) -> Answer<'a> {
    match of {
        Value::Int(number) => number.checked_neg().map(Value::Int).ok_or_else(|| overflow(at)),
        Value::Double(number) => Ok(Value::Double(-number)),
        other => Err(no_overload(at, "-", other, None)),
    }
}

/// `left operator right`, for the operators that make a new value.
pub(super) fn combine<'a>(
    at: u32,
    operator: Operator,
    left: &Value<'a>,
    right: &Value<'a>,
    fuel: &mut Fuel,
) -> Answer<'a> {
    let result = match (left, right) {
        (Value::Int(a), Value::Int(b)) => {
            nonzero(at, operator, *b == 0)?;
            match operator {
                Operator::Add => a.checked_add(*b),
                Operator::Subtract => a.checked_sub(*b),
                Operator::Multiply => a.checked_mul(*b),
                Operator::Divide => a.checked_div(*b),
                _ => a.checked_rem(*b),
            }
            .map(Value::Int)
        }
        (Value::Uint(a), Value::Uint(b)) => {
            nonzero(at, operator, *b == 0)?;
            match operator {
                Operator::Add => a.checked_add(*b),
                Operator::Subtract => a.checked_sub(*b),
                Operator::Multiply => a.checked_mul(*b),
                Operator::Divide => a.checked_div(*b),
                _ => a.checked_rem(*b),
            }
            .map(Value::Uint)
        }
        (Value::Double(a), Value::Double(b)) if operator != Operator::Remainder => {
            Some(Value::Double(match operator {
                Operator::Add => a + b,
                Operator::Subtract => a - b,
                Operator::Multiply => a * b,
                _ => a / b,
            }))
        }
        (Value::Timestamp(a), Value::Duration(b)) if operator == Operator::Add => {
            time::timestamp(a + b).map(Value::Timestamp)
        }
        (Value::Duration(a), Value::Timestamp(b)) if operator == Operator::Add => {
            time::timestamp(a + b).map(Value::Timestamp)
        }
        (Value::Timestamp(a), Value::Duration(b)) if operator == Operator::Subtract => {
            time::timestamp(a - b).map(Value::Timestamp)
        }
        (Value::Timestamp(a), Value::Timestamp(b)) if operator == Operator::Subtract => {
            time::duration(a - b).map(Value::Duration)
        }
        (Value::Duration(a), Value::Duration(b)) if operator == Operator::Add => {
            time::duration(a + b).map(Value::Duration)
        }
        (Value::Duration(a), Value::Duration(b)) if operator == Operator::Subtract => {
            time::duration(a - b).map(Value::Duration)
        }
        _ if operator == Operator::Add => return join(at, left, right, fuel),
        _ => return Err(no_overload(at, operator.sign(), left, Some(right))),
    };
    result.ok_or_else(|| overflow(at))
}

fn nonzero(at: u32, operator: Operator, zero: bool) -> Result<(), Stop> {
    if zero && matches!(operator, Operator::Divide | Operator::Remainder) {
        return Err(Stop::failed(at, FailureCause::DivisionByZero));
    }
    Ok(())
}

/// `+` of strings and of bytes.
fn join<'a>(at: u32, left: &Value<'a>, right: &Value<'a>, fuel: &mut Fuel) -> Answer<'a> {
    match (left, right) {
        (Value::Text(a), Value::Text(b)) => {
            fuel.read(a.len() + b.len())?;
            let joined: Rc<str> = [&**a, &**b].concat().into();
            Ok(Value::Text(Text::Made(joined)))
        }
        (Value::Bytes(a), Value::Bytes(b)) => {
            fuel.read(a.len() + b.len())?;
            let joined: Rc<[u8]> = [&**a, &**b].concat().into();
            Ok(Value::Bytes(Blob::Made(joined)))
        }
        _ => Err(no_overload(at, "+", left, Some(right))),
    }
}

fn overflow(at: u32) -> Stop {
    Stop::failed(at, FailureCause::Overflow)
}
