//! Looking into lists and maps: comparing, finding, going through.

use std::{rc::Rc, sync::Arc};

use gatepost_protocol::json::{self, Members, Span};
use smallvec::SmallVec;

use super::{
    eval::{Answer, Machine, Stop, UNKNOWN, no_overload},
    failure::FailureCause,
    subject,
    value::{List, Map, Text, Unreadable, Value},
};

impl<'a> Machine<'a> {
    /// Values of types that do not compare are unequal, and numbers compare by value, whatever their type.
    pub(super) fn equal(&mut self, at: u32, left: &Value<'a>, right: &Value<'a>) -> Result<bool, Stop> {
        self.fuel.steps(1)?;
        match (left, right) {
            (Value::Null, Value::Null) => Ok(true),
            (Value::Text(a), Value::Text(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                self.fuel.read(a.len())?;
                Ok(**a == **b)
            }
            (Value::Bytes(a), Value::Bytes(b)) => {
                self.fuel.read(a.len().min(b.len()))?;
                Ok(**a == **b)
            }
            (Value::List(a), Value::List(b)) => {
                let (mut a, mut b) = (Items::of(a), Items::of(b));
                loop {
                    match (self.next(at, &mut a), self.next(at, &mut b)) {
                        (None, None) => return Ok(true),
                        (Some(a), Some(b)) => {
                            if !self.equal(at, &a?, &b?)? {
                                return Ok(false);
                            }
                        }
                        _ => return Ok(false),
                    }
                }
            }
            (Value::Map(a), Value::Map(b)) => {
                let (mine, others) = (self.keys(at, a)?, self.keys(at, b)?);
                if mine.len() != others.len() {
                    return Ok(false);
                }
                for key in mine.iter() {
                    let (Some(one), Some(other)) = (self.entry(at, a, key)?, self.entry(at, b, key)?) else {
                        return Ok(false);
                    };
                    if !self.equal(at, &one, &other)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Ok(left
                .order(right)
                .is_ok_and(|order| order.is_some_and(std::cmp::Ordering::is_eq))),
        }
    }

    pub(super) fn contains(
        &mut self,
        at: u32,
        what: &Value<'a>,
        container: &Value<'a>,
    ) -> Result<bool, Stop> {
        match container {
            Value::List(list) => {
                let mut items = Items::of(list);
                while let Some(item) = self.next(at, &mut items) {
                    if self.equal(at, &item?, what)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Map(map) => Ok(self.entry(at, map, what)?.is_some()),
            other => Err(no_overload(at, "in", what, Some(other))),
        }
    }

    pub(super) fn index(&mut self, at: u32, of: &Value<'a>, index: &Value<'a>) -> Answer<'a> {
        match of {
            Value::Map(map) => {
                let found = self.entry(at, map, index)?;
                found.ok_or_else(|| Stop::failed(at, FailureCause::NoKey(None)))
            }
            Value::List(list) => {
                let Some(place) = index.as_index() else {
                    return Err(no_overload(at, "[]", of, Some(index)));
                };
                let missing = || Stop::failed(at, FailureCause::NoElement);
                let place = place.ok_or_else(missing)?;
                match list {
                    List::Built(items) => items.get(place).cloned().ok_or_else(missing),
                    List::Names(names) => {
                        let name = names.get(place).ok_or_else(missing)?;
                        Ok(Value::Text(Text::Borrowed(name)))
                    }
                    List::Json(_) => {
                        let mut items = Items::of(list);
                        for _ in 0..place {
                            if !self.skip(&mut items)? {
                                return Err(missing());
                            }
                        }
                        self.next(at, &mut items).ok_or_else(missing)?
                    }
                }
            }
            other => Err(no_overload(at, "[]", other, Some(index))),
        }
    }

    /// The entry of `map` with that key, of whatever type.
    fn entry(&mut self, at: u32, map: &Map<'a>, key: &Value<'a>) -> Result<Option<Value<'a>>, Stop> {
        match (map, key) {
            (Map::Built(entries), _) => {
                for (other, value) in entries.iter() {
                    if self.equal(at, other, key)? {
                        return Ok(Some(value.clone()));
                    }
                }
                Ok(None)
            }
            (_, Value::Text(key)) => self.lookup(at, map, key),
            _ => Ok(None),
        }
    }

    /// The entry of `map` with that string as its key.
    pub(super) fn lookup(&mut self, at: u32, map: &Map<'a>, key: &str) -> Result<Option<Value<'a>>, Stop> {
        match map {
            Map::Args => {
                let Some(raw) = self.arguments else {
                    return Err(UNKNOWN);
                };
                self.look_at_arguments(at, raw)?;
                self.fuel.read(key.len())?;
                self.fuel.steps(self.members.get().map_or(0, Members::len))?;
                let span = self.members.get().and_then(|members| members.get(raw, key));
                span.map(|span| self.read(at, span.of(raw))).transpose()
            }
            Map::Json(raw) => {
                self.fuel.pass(raw.len())?;
                let members = json::object(raw, Span::all(raw)).map_err(|_| arguments(at))?;
                self.fuel.read(key.len())?;
                self.fuel.steps(members.len())?;
                let span = members.get(raw, key);
                span.map(|span| self.read(at, span.of(raw))).transpose()
            }
            Map::Principal => Ok(subject::of_principal(self.caller, key)),
            Map::Tool => Ok(subject::of_tool(self.action, key)),
            Map::Built(entries) => {
                for (other, value) in entries.iter() {
                    self.fuel.read(key.len())?;
                    if matches!(other, Value::Text(other) if **other == *key) {
                        return Ok(Some(value.clone()));
                    }
                }
                Ok(None)
            }
        }
    }

    fn look_at_arguments(&mut self, at: u32, raw: &'a [u8]) -> Result<(), Stop> {
        if self.members.get().is_none() {
            self.fuel.pass(raw.len())?;
            let members = json::object(raw, Span::all(raw)).map_err(|_| arguments(at))?;
            // Nobody else can have set it meanwhile.
            let _ = self.members.set(members);
        }
        Ok(())
    }

    /// The keys of `map`, in the order they were sent.
    pub(super) fn keys(&mut self, at: u32, map: &Map<'a>) -> Result<Rc<[Value<'a>]>, Stop> {
        let raw = match map {
            Map::Built(entries) => {
                self.fuel.steps(entries.len())?;
                return Ok(entries.iter().map(|(key, _)| key.clone()).collect());
            }
            Map::Principal | Map::Tool => {
                let fields: SmallVec<[&'static str; 8]> = match map {
                    Map::Tool => subject::TOOL.into_iter().collect(),
                    _ => subject::Mentions::FIELDS
                        .into_iter()
                        .map(|(name, _)| name)
                        .collect(),
                };
                self.fuel.steps(fields.len())?;
                let mut there = Vec::with_capacity(fields.len());
                for field in fields {
                    if self.lookup(at, map, field)?.is_some() {
                        there.push(Value::Text(Text::Borrowed(field)));
                    }
                }
                return Ok(there.into());
            }
            Map::Args => self.arguments.ok_or(UNKNOWN)?,
            Map::Json(raw) => raw,
        };
        self.fuel.pass(raw.len())?;
        let members = json::object(raw, Span::all(raw)).map_err(|_| arguments(at))?;
        self.fuel.steps(members.len())?;
        members
            .iter()
            .map(|member| self.read(at, member.key.of(raw)))
            .collect()
    }

    /// The value of a part of the arguments.
    fn read(&mut self, at: u32, raw: &'a [u8]) -> Answer<'a> {
        match raw.first() {
            Some(b'{' | b'[') => self.fuel.steps(1)?,
            _ => self.fuel.read(raw.len())?,
        }
        Value::of_json(raw).map_err(|unreadable| match unreadable {
            Unreadable::Number => Stop::failed(at, FailureCause::Number),
            Unreadable::Text => Stop::failed(at, FailureCause::Text),
            Unreadable::Form => arguments(at),
        })
    }

    pub(super) fn next(&mut self, at: u32, items: &mut Items<'a>) -> Option<Answer<'a>> {
        match items {
            Items::Built(items, place) => {
                let item = items.get(*place).cloned();
                *place += 1;
                item.map(Ok)
            }
            Items::Names(names) => names.next().map(|name| Ok(Value::Text(Text::Borrowed(name)))),
            Items::Json(raw, items) => {
                let raw = *raw;
                let span = items.next()?;
                Some(match self.fuel.pass(span.len()) {
                    Ok(()) => self.read(at, span.of(raw)),
                    Err(empty) => Err(empty.into()),
                })
            }
        }
    }

    /// Goes past one of a JSON array's items; `false` if there is none left.
    fn skip(&mut self, items: &mut Items<'a>) -> Result<bool, Stop> {
        let Items::Json(_, items) = items else {
            return Ok(false);
        };
        let span = items.next();
        self.fuel.pass(span.map_or(0, Span::len))?;
        Ok(span.is_some())
    }

    /// How many entries a list or map has.
    pub(super) fn length(&mut self, at: u32, value: &Value<'a>) -> Result<Option<usize>, Stop> {
        match value {
            Value::List(List::Built(items)) => Ok(Some(items.len())),
            Value::List(List::Names(names)) => Ok(Some(names.len())),
            Value::List(list @ List::Json(_)) => {
                let mut items = Items::of(list);
                let mut count = 0;
                while self.skip(&mut items)? {
                    count += 1;
                }
                Ok(Some(count))
            }
            Value::Map(Map::Built(entries)) => Ok(Some(entries.len())),
            Value::Map(map) => Ok(Some(self.keys(at, map)?.len())),
            _ => Ok(None),
        }
    }
}

fn arguments(at: u32) -> Stop {
    Stop::failed(at, FailureCause::Arguments)
}

/// A way through a list.
pub(super) enum Items<'a> {
    Built(Rc<[Value<'a>]>, usize),
    Names(std::slice::Iter<'a, Arc<str>>),
    Json(&'a [u8], json::Items<'a>),
}

impl<'a> Items<'a> {
    pub(super) fn of(list: &List<'a>) -> Self {
        match list {
            List::Built(items) => Self::Built(Rc::clone(items), 0),
            List::Names(names) => Self::Names(names.iter()),
            List::Json(raw) => Self::Json(raw, json::items(raw, Span::all(raw))),
        }
    }
}
