//! Expressions, with every name looked up.

use super::{matching::Matcher, time::Getter};

/// An expression, and the byte of the text it is at.
#[derive(Debug)]
pub(super) struct Expr {
    pub(super) at: u32,
    pub(super) node: Node,
}

#[derive(Debug)]
pub(super) enum Node {
    Literal(Literal),
    Args,
    Principal,
    Tool,
    Now,
    /// A variable of a macro, by its place among those in scope.
    Local(usize),
    List(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Select(Box<Expr>, Box<str>),
    Has(Box<Expr>, Box<str>),
    Index(Box<[Expr; 2]>),
    Not(Box<Expr>),
    Negate(Box<Expr>),
    /// `a && b && c`
    And(Vec<Expr>),
    /// `a || b || c`
    Or(Vec<Expr>),
    /// `a ? b : c`
    Choose(Box<[Expr; 3]>),
    Binary(Operator, Box<[Expr; 2]>),
    Call(Function, Vec<Expr>),
    Matches(Box<Expr>, Matcher),
    /// A getter of a timestamp, at an offset from UTC in minutes, or of a duration.
    Get(Getter, Box<Expr>, i32),
    Fold(Box<Fold>),
}

#[derive(Debug)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    In,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl Operator {
    /// The sign, and how tightly it binds.
    pub(super) const ALL: [(&'static str, Self, u8); 12] = [
        ("==", Self::Equal, 4),
        ("!=", Self::Unequal, 4),
        ("<", Self::Less, 4),
        ("<=", Self::AtMost, 4),
        (">", Self::Greater, 4),
        (">=", Self::AtLeast, 4),
        ("in", Self::In, 4),
        ("+", Self::Add, 5),
        ("-", Self::Subtract, 5),
        ("*", Self::Multiply, 6),
        ("/", Self::Divide, 6),
        ("%", Self::Remainder, 6),
    ];

    pub(super) fn sign(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, operator, _)| *operator == self);
        found.map_or("", |(sign, ..)| sign)
    }
}

/// A macro that goes through a list, or through the keys of a map.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) kind: FoldKind,
    pub(super) range: Expr,
    /// The place of its variable.
    pub(super) local: usize,
    /// Of `map` with three arguments: which elements.
    pub(super) filter: Option<Expr>,
    pub(super) body: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FoldKind {
    All,
    Exists,
    ExistsOne,
    Filter,
    Map,
}

impl FoldKind {
    pub(super) const ALL: [(&'static str, Self); 5] = [
        ("all", Self::All),
        ("exists", Self::Exists),
        ("exists_one", Self::ExistsOne),
        ("filter", Self::Filter),
        ("map", Self::Map),
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Size,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Timestamp,
    Duration,
    Contains,
    StartsWith,
    EndsWith,
}

impl Function {
    /// Those called with everything in parentheses; each takes one argument.
    pub(super) const GLOBAL: [(&'static str, Self); 9] = [
        ("size", Self::Size),
        ("bool", Self::Bool),
        ("int", Self::Int),
        ("uint", Self::Uint),
        ("double", Self::Double),
        ("string", Self::Text),
        ("bytes", Self::Bytes),
        ("timestamp", Self::Timestamp),
        ("duration", Self::Duration),
    ];

    /// Those called on something, and how many arguments follow.
    pub(super) const METHODS: [(&'static str, Self, usize); 4] = [
        ("size", Self::Size, 0),
        ("contains", Self::Contains, 1),
        ("startsWith", Self::StartsWith, 1),
        ("endsWith", Self::EndsWith, 1),
    ];

    pub(super) fn name(self) -> &'static str {
        let global = Self::GLOBAL.iter().map(|&(name, function)| (name, function));
        let methods = Self::METHODS.iter().map(|&(name, function, _)| (name, function));
        let mut all = global.chain(methods);
        all.find(|(_, function)| *function == self)
            .map_or("", |(name, _)| name)
    }
}

impl Expr {
    /// The expressions it is made of.
    fn parts(&self) -> Vec<&Self> {
        match &self.node {
            Node::Literal(_) | Node::Args | Node::Principal | Node::Tool | Node::Now | Node::Local(_) => {
                Vec::new()
            }
            Node::List(parts) | Node::And(parts) | Node::Or(parts) | Node::Call(_, parts) => {
                parts.iter().collect()
            }
            Node::Map(entries) => entries.iter().flat_map(|(key, value)| [key, value]).collect(),
            Node::Select(part, _)
            | Node::Has(part, _)
            | Node::Not(part)
            | Node::Negate(part)
            | Node::Matches(part, _)
            | Node::Get(_, part, _) => vec![part],
            Node::Index(parts) | Node::Binary(_, parts) => parts.iter().collect(),
            Node::Choose(parts) => parts.iter().collect(),
            Node::Fold(fold) => {
                let mut parts = vec![&fold.range, &fold.body];
                parts.extend(&fold.filter);
                parts
            }
        }
    }

    /// How many expressions lie within each other.
    pub(super) fn depth(&self) -> usize {
        1 + self
            .parts()
            .into_iter()
            .map(Self::depth)
            .max()
            .unwrap_or_default()
    }

    /// What it is, where that can be seen without working it out and is neither true nor false.
    pub(super) fn never_boolean(&self) -> Option<&'static str> {
        match &self.node {
            Node::Literal(literal) => match literal {
                Literal::Bool(_) => None,
                Literal::Null => Some("null"),
                Literal::Int(_) | Literal::Uint(_) | Literal::Double(_) => Some("a number"),
                Literal::Text(_) => Some("a string"),
                Literal::Bytes(_) => Some("a byte string"),
            },
            Node::Args | Node::Principal | Node::Tool | Node::Map(_) => Some("a map"),
            Node::List(_) => Some("a list"),
            Node::Now => Some("a timestamp"),
            Node::Negate(_) | Node::Get(..) => Some("a number"),
            Node::Binary(operator, _) => match operator {
                Operator::Add
                | Operator::Subtract
                | Operator::Multiply
                | Operator::Divide
                | Operator::Remainder => Some("a sum"),
                _ => None,
            },
            Node::Call(function, _) => match function {
                Function::Bool | Function::Contains | Function::StartsWith | Function::EndsWith => None,
                Function::Size | Function::Int | Function::Uint | Function::Double => Some("a number"),
                Function::Text => Some("a string"),
                Function::Bytes => Some("a byte string"),
                Function::Timestamp => Some("a timestamp"),
                Function::Duration => Some("a duration"),
            },
            Node::Fold(fold) => match fold.kind {
                FoldKind::Filter | FoldKind::Map => Some("a list"),
                FoldKind::All | FoldKind::Exists | FoldKind::ExistsOne => None,
            },
            Node::Choose(parts) => parts[1].never_boolean().and(parts[2].never_boolean()),
            Node::Local(_)
            | Node::Select(..)
            | Node::Has(..)
            | Node::Index(_)
            | Node::Not(_)
            | Node::And(_)
            | Node::Or(_)
            | Node::Matches(..) => None,
        }
    }
}
