//! A Pratt parser that evaluates as it reads: precedence is in [`binding`], everything else follows from it.

use std::{iter::Peekable, str::CharIndices};

use thiserror::Error;

use super::{
    functions::{self, FunctionError},
    number::{Number, Undefined},
};

/// The longest expression, in characters.
const MAX_LENGTH: usize = 4096;
/// How deep parentheses, signs and powers may nest. Each level is a stack frame.
const MAX_DEPTH: usize = 100;

/// Why an expression has no value, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("position {position}: {problem}")]
pub(super) struct ExpressionError {
    /// Counted in characters from 1.
    position: usize,
    problem: Problem,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
enum Problem {
    #[error("the expression is longer than {MAX_LENGTH} characters; calculate it in parts")]
    TooLong,
    #[error("more than {MAX_DEPTH} levels of nesting; calculate it in parts")]
    TooDeep,
    #[error("expected {expected}, found {found}")]
    Expected { expected: &'static str, found: String },
    #[error("`{0}` is not a number, or has more than 38 digits")]
    BadNumber(String),
    #[error("unknown name `{0}`; constants are pi, tau, e, phi, and functions are called as in sqrt(2)")]
    UnknownName(String),
    #[error(transparent)]
    Function(#[from] FunctionError),
    #[error(transparent)]
    Undefined(#[from] Undefined),
}

/// The value of an expression.
pub(super) fn evaluate(text: &str) -> Result<Number, ExpressionError> {
    if text.chars().count() > MAX_LENGTH {
        return Err(ExpressionError {
            position: MAX_LENGTH + 1,
            problem: Problem::TooLong,
        });
    }
    let mut parser = Parser {
        text,
        chars: text.char_indices().peekable(),
        depth: 0,
    };
    let value = parser.expression(0)?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => Err(parser.expected("an operator or the end")),
    }
}

/// How strongly an operator binds what is left and right of it; a right side that is weaker than the left makes
/// `2^3^2` be `2^(3^2)`.
fn binding(operator: char) -> Option<(u8, u8)> {
    match operator {
        '+' | '-' => Some((1, 2)),
        '*' | '/' | '%' => Some((3, 4)),
        '^' => Some((8, 7)),
        _ => None,
    }
}

/// A sign binds tighter than `*` and looser than `^`: `-2^2` is `-(2^2)`.
const SIGN: u8 = 5;

struct Parser<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
    depth: usize,
}

// === impl Parser ===

impl<'a> Parser<'a> {
    /// The next character that is not a space, in its plain form.
    fn peek(&mut self) -> Option<char> {
        while self.chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        self.chars.peek().map(|(_, c)| match c {
            '×' | '·' | '⋅' => '*',
            '÷' => '/',
            '−' | '–' => '-',
            other => *other,
        })
    }

    /// Takes `wanted` if it is next.
    fn take(&mut self, wanted: char) -> bool {
        self.peek() == Some(wanted) && self.chars.next().is_some()
    }

    fn offset(&mut self) -> usize {
        self.chars.peek().map_or(self.text.len(), |(offset, _)| *offset)
    }

    fn at(&self, offset: usize, problem: impl Into<Problem>) -> ExpressionError {
        let before = self.text.get(..offset).unwrap_or(self.text);
        ExpressionError {
            position: before.chars().count() + 1,
            problem: problem.into(),
        }
    }

    fn expected(&mut self, expected: &'static str) -> ExpressionError {
        let found = self
            .peek()
            .map_or_else(|| "the end".to_owned(), |c| format!("`{c}`"));
        let offset = self.offset();
        self.at(offset, Problem::Expected { expected, found })
    }

    /// An expression whose operators all bind at least as strongly as `least`.
    fn expression(&mut self, least: u8) -> Result<Number, ExpressionError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            let offset = self.offset();
            return Err(self.at(offset, Problem::TooDeep));
        }
        let mut left = self.operand()?;
        loop {
            while self.peek() == Some('!') {
                let offset = self.offset();
                self.chars.next();
                left = functions::factorial(left).map_err(|problem| self.at(offset, problem))?;
            }
            let Some(operator) = self.peek() else { break };
            let offset = self.offset();
            // `**` is how Python writes a power.
            let power = operator == '*' && self.text.get(offset..).is_some_and(|rest| rest.starts_with("**"));
            let operator = if power { '^' } else { operator };
            let Some((left_binding, right_binding)) = binding(operator) else {
                break;
            };
            if left_binding < least {
                break;
            }
            self.chars.next();
            if power {
                self.chars.next();
            }
            let right = self.expression(right_binding)?;
            let value = match operator {
                '+' => left.add(right),
                '-' => left.subtract(right),
                '*' => left.multiply(right),
                '/' => left.divide(right),
                '%' => left.remainder(right),
                _ => left.power(right),
            };
            left = value.map_err(|problem| self.at(offset, problem))?;
        }
        self.depth -= 1;
        Ok(left)
    }

    fn operand(&mut self) -> Result<Number, ExpressionError> {
        match self.peek() {
            Some('(') => {
                self.chars.next();
                let value = self.expression(0)?;
                if self.take(')') {
                    Ok(value)
                } else {
                    Err(self.expected("an operator or `)`"))
                }
            }
            Some('-') => {
                let offset = self.offset();
                self.chars.next();
                let value = self.expression(SIGN)?;
                value.negate().map_err(|problem| self.at(offset, problem))
            }
            Some('+') => {
                self.chars.next();
                self.expression(SIGN)
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.literal(),
            Some(c) if c.is_alphabetic() => self.named(),
            _ => Err(self.expected("a number, a name, `-` or `(`")),
        }
    }

    fn literal(&mut self) -> Result<Number, ExpressionError> {
        let start = self.offset();
        while self
            .chars
            .next_if(|(_, c)| c.is_ascii_digit() || matches!(c, '.' | '_'))
            .is_some()
        {}
        let mantissa = self.offset();
        // An exponent only if digits follow: in `2 * e` the `e` is a name, and so it is in the error of `2e`.
        let rest = self.text.get(mantissa..).unwrap_or_default();
        let signed = rest
            .strip_prefix(['e', 'E'])
            .map(|rest| rest.strip_prefix(['+', '-']).unwrap_or(rest));
        if signed.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) {
            self.chars.next();
            self.chars.next_if(|(_, c)| matches!(c, '+' | '-'));
            while self.chars.next_if(|(_, c)| c.is_ascii_digit()).is_some() {}
        }
        let end = self.offset();
        let text = self.text.get(start..end).unwrap_or_default();
        parse_decimal(&text.replace('_', ""))
            .ok_or_else(|| self.at(start, Problem::BadNumber(text.to_owned())))
    }

    fn named(&mut self) -> Result<Number, ExpressionError> {
        let start = self.offset();
        while self
            .chars
            .next_if(|(_, c)| c.is_alphanumeric() || *c == '_')
            .is_some()
        {}
        let end = self.offset();
        let name = self.text.get(start..end).unwrap_or_default().to_lowercase();
        if self.take('(') {
            let mut arguments = Vec::new();
            if !self.take(')') {
                loop {
                    arguments.push(self.expression(0)?);
                    if self.take(')') {
                        break;
                    }
                    if !self.take(',') {
                        return Err(self.expected("an operator, `,` or `)`"));
                    }
                }
            }
            return match functions::apply(&name, &arguments) {
                Some(value) => value.map_err(|problem| self.at(start, problem)),
                None => Err(self.at(start, Problem::UnknownName(name))),
            };
        }
        let value = match name.as_str() {
            "pi" | "π" => std::f64::consts::PI,
            "tau" | "τ" => std::f64::consts::TAU,
            "e" => std::f64::consts::E,
            "phi" | "φ" => f64::midpoint(1.0, 5_f64.sqrt()),
            _ => return Err(self.at(start, Problem::UnknownName(name))),
        };
        Ok(Number::Approximate(value))
    }
}

/// A decimal literal, exact if 128 bits hold it.
fn parse_decimal(text: &str) -> Option<Number> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 38 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let places = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    let scaled = 10_i128.checked_pow(places.unsigned_abs()).and_then(|scale| {
        let digits: i128 = digits.parse().ok()?;
        if places < 0 {
            Number::ratio(digits.checked_mul(scale)?, 1)
        } else {
            Number::ratio(digits, scale)
        }
    });
    scaled.or_else(|| Number::approximate(text.parse().ok()?).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cases: &[(&str, &str)]) {
        for (text, expected) in cases {
            let said = match evaluate(text) {
                Ok(number) => number.decimal().0,
                Err(error) => error.to_string(),
            };
            assert_eq!(&said, expected, "{text}");
        }
    }

    #[test]
    fn precedence() {
        check(&[
            ("2 + 3 * 4", "14"),
            ("(2 + 3) * 4", "20"),
            ("10 - 4 - 3", "3"),
            ("100 / 10 / 2", "5"),
            ("2^3^2", "512"),
            ("2**3**2", "512"),
            ("-2^2", "-4"),
            ("(-2)^2", "4"),
            ("2^-1", "0.5"),
            ("2 * -3", "-6"),
            ("--3", "3"),
            ("+ - + 3", "-3"),
            ("-7 % 3", "2"),
            ("7 % -3", "-2"),
            ("5 % 3 * 2", "4"),
            ("3!^2", "36"),
            ("2^3!", "64"),
            ("-3!", "-6"),
            ("6 ÷ 2 × 3 − 1", "8"),
        ]);
    }

    #[test]
    fn exactness() {
        check(&[
            ("0.1 + 0.2", "0.3"),
            ("1/3*3", "1"),
            ("19.99 * 3", "59.97"),
            ("2^100", "1267650600228229401496703205376"),
            (
                "123456789012345678901234567890 + 1",
                "123456789012345678901234567891",
            ),
            (
                "170141183460469231731687303715884105727 + 1",
                "position 1: `170141183460469231731687303715884105727` is not a number, or has more than 38 digits",
            ),
            ("2^200", "1.6069380442589903e60"),
            ("1e3 + .5", "1000.5"),
            ("1_000_000 * 3", "3000000"),
            ("2.5e-3", "0.0025"),
            (
                "1e400",
                "position 1: `1e400` is not a number, or has more than 38 digits",
            ),
            ("sqrt(144)", "12"),
            ("sqrt(2.25)", "1.5"),
            ("sqrt(2)", "1.4142135623730951"),
            ("round(10/3, 2)", "3.33"),
            ("round(2.5)", "3"),
            ("round(-2.5)", "-3"),
            ("round(1234, -2)", "1200"),
            ("floor(-1.5)", "-2"),
            ("ceil(-1.5)", "-1"),
            ("trunc(-1.5)", "-1"),
            ("20!", "2432902008176640000"),
            ("max(1/3, 0.3, min(5, 2/7))", "0.3333333333333333"),
            ("gcd(12, 18, 0)", "6"),
            ("lcm(4, 6)", "12"),
            ("mean(1, 2, 4, 5)", "3"),
            ("log(1000)", "3"),
            ("log(8, 2)", "3"),
            ("hypot(3, 4)", "5"),
            ("PI", "3.141592653589793"),
            ("sin(0)", "0"),
        ]);
    }

    #[test]
    fn errors_have_a_position() {
        check(&[
            (
                "",
                "position 1: expected a number, a name, `-` or `(`, found the end",
            ),
            (
                "2 +",
                "position 4: expected a number, a name, `-` or `(`, found the end",
            ),
            (
                "é",
                "position 1: unknown name `é`; constants are pi, tau, e, phi, and functions are called as in sqrt(2)",
            ),
            ("2 pi", "position 3: expected an operator or the end, found `p`"),
            ("(1", "position 3: expected an operator or `)`, found the end"),
            ("1)", "position 2: expected an operator or the end, found `)`"),
            (
                "1.2.3",
                "position 1: `1.2.3` is not a number, or has more than 38 digits",
            ),
            ("4 / (2 - 2)", "position 3: division by zero"),
            ("4 % 0", "position 3: division by zero"),
            ("0^-1", "position 2: division by zero"),
            (
                "1 + sqrt(-1)",
                "position 5: a negative number has no real square root",
            ),
            ("ln(0)", "position 1: only a positive number has a logarithm"),
            (
                "(-8)^(1/3)",
                "position 5: a negative number has no real power with a fraction as its exponent",
            ),
            ("sqrt(1, 2)", "position 1: `sqrt` takes one argument, not 2"),
            ("max()", "position 1: `max` takes at least one argument, not 0"),
            ("asin(2)", "position 1: the function has no real value there"),
            (
                "exp(1000)",
                "position 1: the result is too large (about 1e308 is the most)",
            ),
            (
                "0.5!",
                "position 4: a factorial is of a whole number from 0 to 170",
            ),
            (
                "9^9^9^9",
                "position 4: the result is too large (about 1e308 is the most)",
            ),
        ]);
        let said = evaluate(&"(".repeat(3000)).unwrap_err().to_string();
        assert_eq!(
            said,
            "position 101: more than 100 levels of nesting; calculate it in parts"
        );
        let said = evaluate(&"1+".repeat(3000)).unwrap_err().to_string();
        assert!(said.ends_with("characters; calculate it in parts"), "{said}");
        assert_eq!(
            evaluate(&format!("0{}", "+1".repeat(2000))).unwrap().decimal().0,
            "2000"
        );
    }
}
