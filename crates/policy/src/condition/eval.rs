//! Working an expression out.
//!
//! Source: CEL language definition, Evaluation. Every step and every byte is paid for from one tank of [`Fuel`]; what is not
//! known yet stays unknown, as a set of what it may turn out to be.

use std::{cell::OnceCell, rc::Rc};

use gatepost_protocol::json::Members;
use smallvec::SmallVec;

use crate::{Action, Caller};

use super::{
    expr::{Expr, Fold, FoldKind, Literal, Node, Operator},
    failure::FailureCause,
    fuel::{Empty, Fuel},
    look::Items,
    matching::Matcher,
    tally::{Outcomes, Tally},
    time::Getter,
    value::{Blob, List, Map, Text, Value},
};

/// A value, or why there is none.
pub(super) type Answer<'a> = Result<Value<'a>, Stop>;

/// Why there is no value.
#[derive(Clone, Debug)]
pub(super) enum Stop {
    /// There is no fuel left: nothing absorbs that.
    Spent,
    /// At this byte of the condition.
    Failed(u32, FailureCause),
    /// It depends on what is not known; taken as true or false, it may turn out to be one of these.
    Unknown(Outcomes),
}

impl Stop {
    pub(super) fn failed(at: u32, cause: FailureCause) -> Self {
        Self::Failed(at, cause)
    }
}

impl From<Empty> for Stop {
    fn from(_: Empty) -> Self {
        Self::Spent
    }
}

pub(super) const UNKNOWN: Stop = Stop::Unknown(Outcomes::ANY);

/// What a condition is worked out with.
pub(super) struct Machine<'a> {
    pub(super) caller: &'a Caller,
    pub(super) action: &'a Action<'a>,
    /// A valid JSON object; `None` while unknown.
    pub(super) arguments: Option<&'a [u8]>,
    /// Its members, once somebody has looked.
    pub(super) members: OnceCell<Members>,
    /// Nanoseconds since 1970; `None` while unknown.
    now: Option<i128>,
    pub(super) fuel: Fuel,
    /// The variables of the macros around this place.
    locals: SmallVec<[Value<'a>; 2]>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(
        caller: &'a Caller,
        action: &'a Action<'a>,
        arguments: Option<&'a [u8]>,
        now: Option<i128>,
    ) -> Self {
        Self {
            caller,
            action,
            arguments,
            members: OnceCell::new(),
            now,
            fuel: Fuel::full(),
            locals: SmallVec::new(),
        }
    }

    /// Works `expr` out.
    pub(super) fn eval(&mut self, expr: &'a Expr) -> Answer<'a> {
        self.fuel.steps(1)?;
        let at = expr.at;
        match &expr.node {
            Node::Literal(literal) => Ok(literal.value()),
            Node::Args => match self.arguments {
                Some(_) => Ok(Value::Map(Map::Args)),
                None => Err(UNKNOWN),
            },
            Node::Principal => Ok(Value::Map(Map::Principal)),
            Node::Tool => Ok(Value::Map(Map::Tool)),
            Node::Now => self.now.map(Value::Timestamp).ok_or(UNKNOWN),
            Node::Local(place) => {
                let local = self.locals.get(*place).cloned();
                local.ok_or_else(|| Stop::failed(at, FailureCause::NoElement))
            }
            Node::List(items) => {
                let items = items
                    .iter()
                    .map(|item| self.known(item))
                    .collect::<Result<Rc<[_]>, _>>()?;
                Ok(Value::List(List::Built(items)))
            }
            Node::Map(entries) => self.build(at, entries),
            Node::Select(of, field) => {
                let found = self.field(at, ".", of, field)?;
                found.ok_or_else(|| Stop::failed(at, FailureCause::NoKey(Some(field.clone()))))
            }
            Node::Has(of, field) => {
                let found = self.field(at, "has", of, field)?;
                Ok(Value::Bool(found.is_some()))
            }
            Node::Index(parts) => {
                let (of, index) = self.both(&parts[0], &parts[1])?;
                self.index(at, &of, &index)
            }
            Node::Not(of) => self.not(at, of),
            Node::Negate(of) => {
                let of = self.known(of)?;
                super::arithmetic::negate(at, &of)
            }
            Node::And(parts) => self.join(at, parts, Tally::and()),
            Node::Or(parts) => self.join(at, parts, Tally::or()),
            Node::Choose(parts) => self.choose(at, parts),
            Node::Binary(operator, parts) => {
                let (left, right) = self.both(&parts[0], &parts[1])?;
                self.binary(at, *operator, &left, &right)
            }
            Node::Call(function, arguments) => match &**arguments {
                [one] => {
                    let one = self.known(one)?;
                    self.call(at, *function, &one)
                }
                [one, other] => {
                    let (one, other) = self.both(one, other)?;
                    self.search(at, *function, &one, &other)
                }
                _ => Err(Stop::failed(at, FailureCause::NoElement)),
            },
            Node::Matches(text, matcher) => self.matches(at, text, matcher),
            Node::Get(getter, of, offset) => self.get(at, *getter, of, *offset),
            Node::Fold(fold) => self.fold(at, fold),
        }
    }

    /// Works out what must be known for the next step: however it turns out, the step may have any outcome.
    fn known(&mut self, expr: &'a Expr) -> Answer<'a> {
        self.eval(expr).map_err(|stop| match stop {
            Stop::Unknown(_) => UNKNOWN,
            stop => stop,
        })
    }

    /// Two operands. What certainly fails does so also beside what is unknown.
    fn both(&mut self, left: &'a Expr, right: &'a Expr) -> Result<(Value<'a>, Value<'a>), Stop> {
        match self.known(left) {
            Ok(left) => Ok((left, self.known(right)?)),
            Err(Stop::Unknown(_)) => Err(self.known(right).err().unwrap_or(UNKNOWN)),
            Err(stop) => Err(stop),
        }
    }

    /// What a map holds under `field`, if it holds it; `operation` is named if `of` is no map.
    fn field(
        &mut self,
        at: u32,
        operation: &'static str,
        of: &'a Expr,
        field: &str,
    ) -> Result<Option<Value<'a>>, Stop> {
        let of = self.known(of)?;
        let Value::Map(map) = &of else {
            return Err(no_overload(at, operation, &of, None));
        };
        self.lookup(at, map, field)
    }

    fn not(&mut self, at: u32, of: &'a Expr) -> Answer<'a> {
        match self.eval(of) {
            Ok(Value::Bool(value)) => Ok(Value::Bool(!value)),
            Ok(other) => Err(no_overload(at, "!", &other, None)),
            Err(Stop::Unknown(outcomes)) => Err(Stop::Unknown(outcomes.negated())),
            Err(stop) => Err(stop),
        }
    }

    fn join(&mut self, at: u32, parts: &'a [Expr], mut tally: Tally) -> Answer<'a> {
        for part in parts {
            let answer = self.eval(part);
            if matches!(answer, Err(Stop::Spent)) {
                return answer;
            }
            if tally.add(answer, part.at) {
                break;
            }
        }
        tally.result(at)
    }

    fn choose(&mut self, at: u32, parts: &'a [Expr; 3]) -> Answer<'a> {
        let [condition, yes, no] = parts;
        let unknown = match self.eval(condition) {
            Ok(Value::Bool(true)) => return self.eval(yes),
            Ok(Value::Bool(false)) => return self.eval(no),
            Ok(other) => return Err(no_overload(at, "?", &other, None)),
            Err(Stop::Unknown(outcomes)) => outcomes,
            Err(stop) => return Err(stop),
        };
        let mut outcomes = if unknown.has(Outcomes::FAILS) {
            Outcomes::FAILS
        } else {
            Outcomes::NONE
        };
        for (way, branch) in [(Outcomes::TRUE, yes), (Outcomes::FALSE, no)] {
            if unknown.has(way) {
                let answer = self.eval(branch);
                if matches!(answer, Err(Stop::Spent)) {
                    return answer;
                }
                outcomes = outcomes.or(Outcomes::of(&answer));
            }
        }
        // That it is neither true nor false does not mean that it fails: it may be a string.
        match outcomes {
            Outcomes::TRUE => Ok(Value::Bool(true)),
            Outcomes::FALSE => Ok(Value::Bool(false)),
            outcomes => Err(Stop::Unknown(outcomes)),
        }
    }

    fn build(&mut self, at: u32, entries: &'a [(Expr, Expr)]) -> Answer<'a> {
        let mut built: Vec<(Value<'a>, Value<'a>)> = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let (key, value) = self.both(key, value)?;
            if !matches!(
                key,
                Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Text(_)
            ) {
                return Err(Stop::failed(at, FailureCause::Key));
            }
            for (other, _) in &built {
                if self.equal(at, &key, other)? {
                    return Err(Stop::failed(at, FailureCause::Key));
                }
            }
            built.push((key, value));
        }
        Ok(Value::Map(Map::Built(built.into())))
    }

    fn matches(&mut self, at: u32, text: &'a Expr, matcher: &Matcher) -> Answer<'a> {
        match self.known(text)? {
            Value::Text(text) => {
                self.fuel.steps(1 + matcher.cost(text.len()))?;
                Ok(Value::Bool(matcher.is_match(&text)))
            }
            other => Err(no_overload(at, "matches", &other, None)),
        }
    }

    /// A part of a timestamp, `offset` minutes east of UTC, or of a duration.
    fn get(&mut self, at: u32, getter: Getter, of: &'a Expr, offset: i32) -> Answer<'a> {
        let of = self.known(of)?;
        let number = match of {
            Value::Timestamp(nanos) => Some(getter.of_timestamp(nanos, offset)),
            Value::Duration(nanos) if offset == 0 => getter.of_duration(nanos),
            _ => None,
        };
        number
            .map(Value::Int)
            .ok_or_else(|| no_overload(at, getter.name(), &of, None))
    }

    fn fold(&mut self, at: u32, fold: &'a Fold) -> Answer<'a> {
        let name = FoldKind::ALL.iter().find(|(_, kind)| *kind == fold.kind);
        let name = name.map_or("", |(name, _)| name);
        let range = self.known(&fold.range)?;
        let mut items = match &range {
            Value::List(list) => Items::of(list),
            Value::Map(map) => Items::Built(self.keys(at, map)?, 0),
            other => return Err(no_overload(at, name, other, None)),
        };
        let mut tally = match fold.kind {
            FoldKind::Exists => Tally::or(),
            _ => Tally::and(),
        };
        let mut made: Vec<Value<'a>> = Vec::new();
        let mut trues = 0;
        let mut unknown = None;
        while let Some(item) = self.next(at, &mut items) {
            self.fuel.steps(1)?;
            let item = item?;
            self.locals.truncate(fold.local);
            self.locals.push(item.clone());
            let answer = match &fold.filter {
                None => self.eval(&fold.body),
                Some(filter) => match self.eval(filter) {
                    Ok(Value::Bool(true)) => self.eval(&fold.body),
                    Ok(Value::Bool(false)) => continue,
                    Ok(other) => Err(Stop::failed(filter.at, FailureCause::NotBoolean(other.kind()))),
                    Err(stop) => Err(stop),
                },
            };
            if matches!(answer, Err(Stop::Spent)) {
                return answer;
            }
            match fold.kind {
                FoldKind::All | FoldKind::Exists => {
                    if tally.add(answer, fold.body.at) {
                        break;
                    }
                }
                FoldKind::Map => match answer {
                    Ok(value) => made.push(value),
                    Err(Stop::Unknown(_)) => unknown = Some(UNKNOWN),
                    Err(stop) => return Err(stop),
                },
                FoldKind::Filter | FoldKind::ExistsOne => match answer {
                    Ok(Value::Bool(true)) => {
                        trues += 1;
                        if fold.kind == FoldKind::Filter {
                            made.push(item);
                        }
                    }
                    Ok(Value::Bool(false)) => {}
                    Ok(other) => {
                        return Err(Stop::failed(fold.body.at, FailureCause::NotBoolean(other.kind())));
                    }
                    Err(Stop::Unknown(_)) => unknown = Some(UNKNOWN),
                    Err(stop) => return Err(stop),
                },
            }
        }
        self.locals.truncate(fold.local);
        match (fold.kind, unknown) {
            (FoldKind::All | FoldKind::Exists, _) => tally.result(at),
            (_, Some(unknown)) => Err(unknown),
            (FoldKind::ExistsOne, None) => Ok(Value::Bool(trues == 1)),
            (FoldKind::Map | FoldKind::Filter, None) => Ok(Value::List(List::Built(made.into()))),
        }
    }

    fn binary(&mut self, at: u32, operator: Operator, left: &Value<'a>, right: &Value<'a>) -> Answer<'a> {
        let value = match operator {
            Operator::Equal => Value::Bool(self.equal(at, left, right)?),
            Operator::Unequal => Value::Bool(!self.equal(at, left, right)?),
            Operator::In => Value::Bool(self.contains(at, left, right)?),
            Operator::Less | Operator::AtMost | Operator::Greater | Operator::AtLeast => {
                if let (Value::Text(a), Value::Text(b)) = (left, right) {
                    self.fuel.read(a.len().min(b.len()))?;
                }
                let order = left.order(right);
                let order = order.map_err(|()| no_overload(at, operator.sign(), left, Some(right)))?;
                Value::Bool(order.is_some_and(|order| match operator {
                    Operator::Less => order.is_lt(),
                    Operator::AtMost => order.is_le(),
                    Operator::Greater => order.is_gt(),
                    _ => order.is_ge(),
                }))
            }
            _ => match (operator, left, right) {
                (Operator::Add, Value::List(a), Value::List(b)) => {
                    Value::List(List::Built(self.concatenate(at, a, b)?))
                }
                _ => return super::arithmetic::combine(at, operator, left, right, &mut self.fuel),
            },
        };
        Ok(value)
    }

    fn concatenate(&mut self, at: u32, left: &List<'a>, right: &List<'a>) -> Result<Rc<[Value<'a>]>, Stop> {
        let mut joined = Vec::new();
        for list in [left, right] {
            let mut items = Items::of(list);
            while let Some(item) = self.next(at, &mut items) {
                self.fuel.steps(1)?;
                joined.push(item?);
            }
        }
        Ok(joined.into())
    }
}

pub(super) fn no_overload(
    at: u32,
    operation: &'static str,
    one: &Value<'_>,
    other: Option<&Value<'_>>,
) -> Stop {
    let kinds = (one.kind(), other.map(Value::kind));
    Stop::failed(at, FailureCause::NoOverload { operation, kinds })
}

impl Literal {
    fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Uint(value) => Value::Uint(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Text(text) => Value::Text(Text::Borrowed(text)),
            Self::Bytes(bytes) => Value::Bytes(Blob::Borrowed(bytes)),
        }
    }
}
