//! Calls, as they are read: functions, methods, and the macros that bring variables of their own.

use super::{
    expr::{Expr, Fold, FoldKind, Function, Literal, Node},
    lex::{Token, TokenKind},
    matching::Matcher,
    parse::{CHOOSE, Parse, Parser, RESERVED, VARIABLES},
    time::{self, Getter},
};

/// The most macros within each other: each multiplies the work by the length of what it goes through.
const MACROS: usize = 2;

impl<'t> Parser<'t> {
    /// `name(…)`, after the parenthesis.
    pub(super) fn global(&mut self, at: usize, name: &str) -> Parse<Expr> {
        let mut arguments = self.list(")")?;
        let count = arguments.len();
        if let Some(&(_, function)) = Function::GLOBAL.iter().find(|(known, _)| *known == name) {
            self.counted(at, name, count, 1)?;
            return self.node(at, Node::Call(function, arguments));
        }
        match name {
            "has" => {
                self.counted(at, name, count, 1)?;
                match arguments.pop().map(|argument| argument.node) {
                    Some(Node::Select(of, field)) => self.node(at, Node::Has(of, field)),
                    _ => Err(self.wrong(at, "`has` takes a field, as in `has(args.name)`")),
                }
            }
            "dyn" => {
                self.counted(at, name, count, 1)?;
                arguments
                    .pop()
                    .ok_or_else(|| self.wrong(at, "`dyn` takes one argument"))
            }
            "matches" => {
                self.counted(at, name, count, 2)?;
                let pattern = arguments.pop();
                match (arguments.pop(), pattern) {
                    (Some(text), Some(pattern)) => self.matches(at, text, &pattern),
                    _ => Err(self.wrong(at, "`matches` takes a text and a pattern")),
                }
            }
            _ => {
                let method = Function::METHODS.iter().any(|(known, ..)| *known == name)
                    || FoldKind::ALL.iter().any(|(known, _)| *known == name)
                    || Getter::ALL.iter().any(|(known, _)| *known == name);
                if method {
                    let message = format!("`{name}` is called on a value, as in `value.{name}(…)`");
                    return Err(self.wrong(at, message));
                }
                let known = Function::GLOBAL.iter().map(|(known, _)| *known);
                Err(self.unknown("function", at, name, known.chain(["has", "dyn", "matches"])))
            }
        }
    }

    fn counted(&self, at: usize, name: &str, found: usize, expected: usize) -> Parse<()> {
        if found == expected {
            return Ok(());
        }
        let noun = if expected == 1 { "argument" } else { "arguments" };
        Err(self.wrong(
            at,
            format!("`{name}` takes {expected} {noun}, and here are {found}"),
        ))
    }

    /// `value.name(…)`, after the parenthesis.
    pub(super) fn method(&mut self, at: usize, value: Expr, name: &str) -> Parse<Expr> {
        if let Some(&(_, kind)) = FoldKind::ALL.iter().find(|(known, _)| *known == name) {
            return self.fold(at, value, kind, name);
        }
        let mut arguments = self.list(")")?;
        let count = arguments.len();
        if let Some(&(_, function, takes)) = Function::METHODS.iter().find(|(known, ..)| *known == name) {
            self.counted(at, name, count, takes)?;
            arguments.insert(0, value);
            return self.node(at, Node::Call(function, arguments));
        }
        if let Some(&(_, getter)) = Getter::ALL.iter().find(|(known, _)| *known == name) {
            return self.getter(at, value, getter, &arguments);
        }
        if name == "matches" {
            self.counted(at, name, count, 1)?;
            return match arguments.pop() {
                Some(pattern) => self.matches(at, value, &pattern),
                None => Err(self.wrong(at, "`matches` takes a pattern")),
            };
        }
        if name == "has" || Function::GLOBAL.iter().any(|(known, _)| *known == name) {
            return Err(self.wrong(at, format!("`{name}` is called as `{name}(value)`")));
        }
        let methods = Function::METHODS.iter().map(|(known, ..)| *known);
        let folds = FoldKind::ALL.iter().map(|(known, _)| *known);
        let getters = Getter::ALL.iter().map(|(known, _)| *known);
        let known = methods.chain(["matches"]).chain(folds).chain(getters);
        Err(self.unknown("function", at, name, known))
    }

    fn getter(&mut self, at: usize, value: Expr, getter: Getter, arguments: &[Expr]) -> Parse<Expr> {
        let offset = match arguments {
            [] => 0,
            [zone] => match &zone.node {
                Node::Literal(Literal::Text(zone)) => time::offset(zone).ok_or_else(|| {
                    let message = "only `UTC` and offsets from it, as `+02:00`, are known; what zones with names mean \
                                   changes with the years";
                    self.wrong(at, message)
                })?,
                _ => return Err(self.wrong(at, "the zone must be written out, as `\"+02:00\"`")),
            },
            _ => return Err(self.wrong(at, format!("`{}` takes at most one argument", getter.name()))),
        };
        self.node(at, Node::Get(getter, Box::new(value), offset))
    }

    fn matches(&mut self, at: usize, text: Expr, pattern: &Expr) -> Parse<Expr> {
        let Node::Literal(Literal::Text(regex)) = &pattern.node else {
            return Err(self.wrong(
                pattern.at as usize,
                "the pattern must be written out, as a string",
            ));
        };
        let matcher = Matcher::new(regex).map_err(|message| self.wrong(pattern.at as usize, message))?;
        self.node(at, Node::Matches(Box::new(text), matcher))
    }

    /// `range.all(variable, predicate)` and its like, after the parenthesis.
    fn fold(&mut self, at: usize, range: Expr, kind: FoldKind, name: &str) -> Parse<Expr> {
        let Token {
            at: place,
            kind: variable,
        } = self.advance()?;
        let TokenKind::Name(variable) = variable else {
            return Err(self.wrong(
                place,
                format!("`{name}` takes a variable first, found {variable}"),
            ));
        };
        if RESERVED.contains(&variable) || matches!(variable, "true" | "false" | "null" | "in") {
            return Err(self.wrong(place, format!("`{variable}` is a reserved word")));
        }
        if VARIABLES.contains(&variable) {
            return Err(self.wrong(
                place,
                format!("`{variable}` is there already; choose another name"),
            ));
        }
        self.expect(",", "after the variable")?;
        if self.locals.len() == MACROS {
            let message = format!("more than {MACROS} macros lie within each other");
            return Err(self.wrong(at, message));
        }
        let local = self.locals.len();
        self.locals.push(variable);
        let mut body = self.expression(CHOOSE)?;
        let mut filter = None;
        if kind == FoldKind::Map && self.take(",")? {
            filter = Some(std::mem::replace(&mut body, self.expression(CHOOSE)?));
        }
        self.locals.pop();
        self.expect(")", &format!("at the end of `{name}`"))?;
        let fold = Fold {
            kind,
            range,
            local,
            filter,
            body,
        };
        self.node(at, Node::Fold(Box::new(fold)))
    }
}
