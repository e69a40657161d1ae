//! From tokens to an expression in which every name is looked up. Whatever can be refused before a condition is ever asked
//! is refused here.
//!
//! Source: CEL language definition, Syntax, Name Resolution, Macros. Left out: messages, types as values, and zones with
//! names.

use crate::nearest::nearest;

use super::{
    ConditionError,
    expr::{Expr, Literal, Node, Operator},
    lex::{Lexer, Token, TokenKind},
    subject::{Mentions, TOOL},
};

/// The longest condition, in bytes.
const LONGEST: usize = 4 * 1024;
/// The most expressions that one is made of.
const MOST: usize = 512;
/// The most that may lie within each other.
const DEEPEST: usize = 48;

/// How tightly `?`, `||` and `&&` bind; the operators of [`Operator::ALL`] bind tighter.
pub(super) const CHOOSE: u8 = 1;
const OR: u8 = 2;
const AND: u8 = 3;

pub(super) const VARIABLES: [&str; 4] = ["args", "principal", "tool", "now"];
/// Kept for languages that CEL is embedded in, and no name of anything.
pub(super) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// A read condition.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) expr: Expr,
    /// What of the principal it looks at.
    pub(super) mentions: Mentions,
}

pub(super) fn parse(text: &str) -> Result<Parsed, ConditionError> {
    if text.len() > LONGEST {
        let message = format!("the condition is longer than {LONGEST} bytes");
        return Err(ConditionError::new(text, 0, message));
    }
    let mut lexer = Lexer::new(text);
    let token = lexer.next()?;
    let mut parser = Parser {
        lexer,
        token,
        nodes: 0,
        level: 0,
        locals: Vec::new(),
        mentions: Mentions::NOTHING,
    };
    let expr = parser.expression(CHOOSE)?;
    if parser.token.kind != TokenKind::End {
        let message = format!("expected an operator or the end, found {}", parser.token.kind);
        return Err(parser.wrong_here(message));
    }
    if expr.depth() > DEEPEST {
        return Err(parser.wrong(0, too_deep()));
    }
    if let Some(what) = expr.never_boolean() {
        let message = format!("a condition is true or false, and this is {what}");
        return Err(parser.wrong(expr.at as usize, message));
    }
    let mentions = parser.mentions;
    Ok(Parsed { expr, mentions })
}

fn too_deep() -> String {
    format!("more than {DEEPEST} expressions lie within each other")
}

pub(super) struct Parser<'t> {
    lexer: Lexer<'t>,
    /// The next one.
    token: Token<'t>,
    nodes: usize,
    level: usize,
    /// The variables of the macros around this place.
    pub(super) locals: Vec<&'t str>,
    mentions: Mentions,
}

pub(super) type Parse<T> = Result<T, ConditionError>;

impl<'t> Parser<'t> {
    pub(super) fn wrong(&self, at: usize, message: impl Into<String>) -> ConditionError {
        ConditionError::new(self.lexer.text(), at, message)
    }

    fn wrong_here(&self, message: impl Into<String>) -> ConditionError {
        self.wrong(self.token.at, message)
    }

    pub(super) fn advance(&mut self) -> Parse<Token<'t>> {
        let next = self.lexer.next()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    fn sees(&self, mark: &str) -> bool {
        matches!(self.token.kind, TokenKind::Mark(next) if next == mark)
    }

    pub(super) fn take(&mut self, mark: &str) -> Parse<bool> {
        let seen = self.sees(mark);
        if seen {
            self.advance()?;
        }
        Ok(seen)
    }

    pub(super) fn expect(&mut self, mark: &str, after: &str) -> Parse<()> {
        if self.take(mark)? {
            return Ok(());
        }
        let found = &self.token.kind;
        Err(self.wrong_here(format!("expected `{mark}` {after}, found {found}")))
    }

    pub(super) fn node(&mut self, at: usize, node: Node) -> Parse<Expr> {
        self.nodes += 1;
        if self.nodes > MOST {
            let message = format!("the condition is made of more than {MOST} expressions");
            return Err(self.wrong(at, message));
        }
        // At most `LONGEST`.
        let at = u32::try_from(at).unwrap_or(u32::MAX);
        Ok(Expr { at, node })
    }

    /// An expression whose operators bind at least as tightly as `least`.
    pub(super) fn expression(&mut self, least: u8) -> Parse<Expr> {
        self.level += 1;
        if self.level > DEEPEST {
            return Err(self.wrong_here(too_deep()));
        }
        let mut left = self.unary()?;
        while let Some((sign, binds)) = self.operator().filter(|(_, binds)| *binds >= least) {
            let at = self.advance()?.at;
            left = match (sign, binds) {
                (_, CHOOSE) => {
                    let yes = self.expression(OR)?;
                    self.expect(":", "and what else after `?`")?;
                    let no = self.expression(CHOOSE)?;
                    self.node(at, Node::Choose(Box::new([left, yes, no])))?
                }
                (_, OR | AND) => {
                    let right = self.expression(binds + 1)?;
                    self.chain(at, binds, left, right)?
                }
                (Some(operator), _) => {
                    let right = self.expression(binds + 1)?;
                    self.node(at, Node::Binary(operator, Box::new([left, right])))?
                }
                (None, _) => return Err(self.wrong(at, "expected an operator")),
            };
        }
        self.level -= 1;
        Ok(left)
    }

    /// The operator that comes next, and how tightly it binds.
    fn operator(&self) -> Option<(Option<Operator>, u8)> {
        let sign = match &self.token.kind {
            TokenKind::Mark("?") => return Some((None, CHOOSE)),
            TokenKind::Mark("||") => return Some((None, OR)),
            TokenKind::Mark("&&") => return Some((None, AND)),
            TokenKind::Mark(mark) => *mark,
            TokenKind::Name("in") => "in",
            _ => return None,
        };
        let found = Operator::ALL.iter().find(|(name, ..)| *name == sign);
        found.map(|&(_, operator, binds)| (Some(operator), binds))
    }

    /// Long chains are one expression, however long: they do not lie within each other.
    fn chain(&mut self, at: usize, binds: u8, left: Expr, right: Expr) -> Parse<Expr> {
        match (left.node, binds) {
            (Node::Or(mut parts), OR) => {
                parts.push(right);
                Ok(Expr {
                    at: left.at,
                    node: Node::Or(parts),
                })
            }
            (Node::And(mut parts), AND) => {
                parts.push(right);
                Ok(Expr {
                    at: left.at,
                    node: Node::And(parts),
                })
            }
            (node, binds) => {
                let parts = vec![Expr { at: left.at, node }, right];
                self.node(
                    at,
                    if binds == OR {
                        Node::Or(parts)
                    } else {
                        Node::And(parts)
                    },
                )
            }
        }
    }

    fn unary(&mut self) -> Parse<Expr> {
        let at = self.token.at;
        if !self.sees("!") && !self.sees("-") {
            let primary = self.primary()?;
            return self.members(primary);
        }
        self.level += 1;
        if self.level > DEEPEST {
            return Err(self.wrong_here(too_deep()));
        }
        let negates = self.sees("-");
        self.advance()?;
        // The lowest integer has no positive counterpart, so the sign belongs to the literal.
        let lowest = i64::MIN.unsigned_abs();
        let expr = match &self.token.kind {
            TokenKind::Int(value) if negates && *value <= lowest => {
                let value = 0_i64.checked_sub_unsigned(*value).unwrap_or(i64::MIN);
                self.advance()?;
                let literal = self.node(at, Node::Literal(Literal::Int(value)))?;
                self.members(literal)?
            }
            _ => {
                let operand = Box::new(self.unary()?);
                let node = if negates {
                    Node::Negate(operand)
                } else {
                    Node::Not(operand)
                };
                self.node(at, node)?
            }
        };
        self.level -= 1;
        Ok(expr)
    }

    fn primary(&mut self) -> Parse<Expr> {
        let Token { at, kind } = self.advance()?;
        let literal = match kind {
            TokenKind::Name(name) => return self.name(at, name),
            TokenKind::Mark("(") => {
                let inner = self.expression(CHOOSE)?;
                self.expect(")", "after what began with `(`")?;
                return Ok(inner);
            }
            TokenKind::Mark("[") => {
                let items = self.list("]")?;
                return self.node(at, Node::List(items));
            }
            TokenKind::Mark("{") => return self.map(at),
            // The root scope: past the variables of macros.
            TokenKind::Mark(".") => {
                let Token { at, kind } = self.advance()?;
                let TokenKind::Name(name) = kind else {
                    return Err(self.wrong(at, format!("expected a name after `.`, found {kind}")));
                };
                let locals = std::mem::take(&mut self.locals);
                let expr = self.variable(at, name);
                self.locals = locals;
                return expr;
            }
            TokenKind::Int(value) => match i64::try_from(value) {
                Ok(value) => Literal::Int(value),
                Err(_) => {
                    let message =
                        "the number is no signed integer of 64 bits; write an unsigned one with `u`";
                    return Err(self.wrong(at, message));
                }
            },
            TokenKind::Uint(value) => Literal::Uint(value),
            TokenKind::Double(value) => Literal::Double(value),
            TokenKind::Text(text) => Literal::Text(text.into()),
            TokenKind::Bytes(bytes) => Literal::Bytes(bytes.into()),
            kind @ (TokenKind::Mark(_) | TokenKind::End) => {
                return Err(self.wrong(at, format!("expected a value, found {kind}")));
            }
        };
        self.node(at, Node::Literal(literal))
    }

    /// Expressions up to the mark that ends them; a comma may stand before it.
    pub(super) fn list(&mut self, end: &str) -> Parse<Vec<Expr>> {
        let mut items = Vec::new();
        while !self.take(end)? {
            items.push(self.expression(CHOOSE)?);
            if !self.take(",")? {
                self.expect(end, "or `,` after an element")?;
                break;
            }
        }
        Ok(items)
    }

    fn map(&mut self, at: usize) -> Parse<Expr> {
        let mut entries = Vec::new();
        while !self.take("}")? {
            let key = self.expression(CHOOSE)?;
            self.expect(":", "after a key")?;
            entries.push((key, self.expression(CHOOSE)?));
            if !self.take(",")? {
                self.expect("}", "or `,` after an entry")?;
                break;
            }
        }
        self.node(at, Node::Map(entries))
    }

    fn name(&mut self, at: usize, name: &'t str) -> Parse<Expr> {
        match name {
            "true" | "false" => self.node(at, Node::Literal(Literal::Bool(name == "true"))),
            "null" => self.node(at, Node::Literal(Literal::Null)),
            _ if self.sees("(") => {
                self.advance()?;
                self.global(at, name)
            }
            _ => self.variable(at, name),
        }
    }

    fn variable(&mut self, at: usize, name: &str) -> Parse<Expr> {
        if let Some(place) = self.locals.iter().rposition(|local| *local == name) {
            return self.node(at, Node::Local(place));
        }
        let node = match name {
            "args" => Node::Args,
            "tool" => Node::Tool,
            "now" => Node::Now,
            "principal" => {
                if !self.sees(".") {
                    self.mentions = Mentions::EVERYTHING;
                }
                Node::Principal
            }
            _ => {
                let known = VARIABLES.into_iter().chain(self.locals.iter().copied());
                return Err(self.unknown("variable", at, name, known));
            }
        };
        self.node(at, node)
    }

    pub(super) fn unknown<'a>(
        &self,
        what: &str,
        at: usize,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> ConditionError {
        let known: Vec<&str> = known.into_iter().collect();
        if RESERVED.contains(&name) {
            return self.wrong(at, format!("`{name}` is a reserved word"));
        }
        let message = match nearest(name, known.iter().copied()) {
            Some(nearest) => format!("there is no {what} `{name}`; did you mean `{nearest}`?"),
            None => format!("there is no {what} `{name}`; there are {}", known.join(", ")),
        };
        self.wrong(at, message)
    }

    /// What follows a value: `.field`, `.method(…)`, `[index]`.
    fn members(&mut self, mut value: Expr) -> Parse<Expr> {
        loop {
            let at = self.token.at;
            if self.take("[")? {
                let index = self.expression(CHOOSE)?;
                self.expect("]", "after an index")?;
                value = self.node(at, Node::Index(Box::new([value, index])))?;
            } else if self.take(".")? {
                let Token { at, kind } = self.advance()?;
                let TokenKind::Name(name) = kind else {
                    let message =
                        format!("expected a field after `.`, found {kind}; other keys are written `[\"…\"]`");
                    return Err(self.wrong(at, message));
                };
                if matches!(name, "true" | "false" | "null" | "in") {
                    return Err(self.wrong(at, format!("`{name}` is no field; write `[\"{name}\"]`")));
                }
                value = if self.take("(")? {
                    self.method(at, value, name)?
                } else {
                    self.field(at, value, name)?
                };
            } else if self.sees("{") {
                return Err(self.wrong_here("there are no messages; a map is written `{\"key\": value}`"));
            } else {
                return Ok(value);
            }
        }
    }

    fn field(&mut self, at: usize, value: Expr, name: &str) -> Parse<Expr> {
        match value.node {
            Node::Principal => match Mentions::named(name) {
                Some(field) => self.mentions = self.mentions.and(field),
                None => {
                    let known = Mentions::FIELDS.into_iter().map(|(name, _)| name);
                    return Err(self.unknown("field of `principal`", at, name, known));
                }
            },
            Node::Tool if !TOOL.contains(&name) => {
                return Err(self.unknown("field of `tool`", at, name, TOOL));
            }
            _ => {}
        }
        self.node(at, Node::Select(Box::new(value), name.into()))
    }
}
