//! What can be called by name.

use thiserror::Error;

use super::number::{Number, Undefined, gcd};

/// Why a function has no value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum FunctionError {
    #[error("`{name}` takes {takes}, not {given}")]
    Arguments {
        /// The function.
        name: String,
        /// What it takes.
        takes: &'static str,
        /// How many arguments it was given.
        given: usize,
    },
    #[error(transparent)]
    Undefined(#[from] Undefined),
}

/// The value of the function `name`, in lower case; `None` if there is none of that name.
pub(super) fn apply(name: &str, arguments: &[Number]) -> Option<Result<Number, FunctionError>> {
    known(name, arguments).transpose()
}

fn known(name: &str, arguments: &[Number]) -> Result<Option<Number>, FunctionError> {
    let wrong = |takes| FunctionError::Arguments {
        name: name.to_owned(),
        takes,
        given: arguments.len(),
    };
    let one = || match arguments {
        [x] => Ok(*x),
        _ => Err(wrong("one argument")),
    };
    let two = || match arguments {
        [x, y] => Ok((*x, *y)),
        _ => Err(wrong("two arguments")),
    };
    let some = || {
        if arguments.is_empty() {
            Err(wrong("at least one argument"))
        } else {
            Ok(arguments)
        }
    };
    let real = |function: fn(f64) -> f64| one().and_then(|x| Ok(Number::approximate(function(x.to_f64()))?));
    let sum = |numbers: &[Number]| numbers.iter().try_fold(Number::ZERO, |sum, x| sum.add(*x));
    Ok(Some(match name {
        "abs" => {
            let x = one()?;
            if x.to_f64() < 0.0 { x.negate()? } else { x }
        }
        "sign" => {
            let x = one()?.to_f64();
            Number::integer(if x > 0.0 { 1 } else { -i128::from(x < 0.0) })
        }
        "floor" => one()?.floor()?,
        "ceil" => one()?.negate()?.floor()?.negate()?,
        "trunc" => {
            let x = one()?;
            if x.to_f64() < 0.0 {
                x.negate()?.floor()?.negate()?
            } else {
                x.floor()?
            }
        }
        "round" => match arguments {
            [x] => round(*x, Number::ZERO)?,
            [x, digits] => round(*x, *digits)?,
            _ => return Err(wrong("one or two arguments")),
        },
        "sqrt" => one()?.square_root()?,
        "cbrt" => real(f64::cbrt)?,
        "exp" => real(f64::exp)?,
        "ln" => logarithm(one()?, f64::ln)?,
        "log2" => logarithm(one()?, f64::log2)?,
        "log10" => logarithm(one()?, f64::log10)?,
        "log" => match arguments {
            [x] => logarithm(*x, f64::log10)?,
            [x, base] => logarithm(*x, f64::ln)?.divide(logarithm(*base, f64::ln)?)?,
            _ => return Err(wrong("one or two arguments")),
        },
        "sin" => real(f64::sin)?,
        "cos" => real(f64::cos)?,
        "tan" => real(f64::tan)?,
        "asin" => real(f64::asin)?,
        "acos" => real(f64::acos)?,
        "atan" => real(f64::atan)?,
        "sinh" => real(f64::sinh)?,
        "cosh" => real(f64::cosh)?,
        "tanh" => real(f64::tanh)?,
        "degrees" => real(f64::to_degrees)?,
        "radians" => real(f64::to_radians)?,
        "atan2" => two().and_then(|(y, x)| Ok(Number::approximate(y.to_f64().atan2(x.to_f64()))?))?,
        "hypot" => two().and_then(|(x, y)| Ok(x.multiply(x)?.add(y.multiply(y)?)?.square_root()?))?,
        "pow" => two().and_then(|(x, y)| Ok(x.power(y)?))?,
        "mod" => two().and_then(|(x, y)| Ok(x.remainder(y)?))?,
        "factorial" => factorial(one()?)?,
        "min" => some()?
            .iter()
            .copied()
            .min_by(|x, y| x.compare(*y))
            .unwrap_or(Number::ZERO),
        "max" => some()?
            .iter()
            .copied()
            .max_by(|x, y| x.compare(*y))
            .unwrap_or(Number::ZERO),
        "sum" => sum(some()?)?,
        "mean" | "avg" => {
            let count = i128::try_from(some()?.len()).map_err(|_| Undefined::TooLarge)?;
            sum(arguments)?.divide(Number::integer(count))?
        }
        "gcd" => whole(some()?)?.into_iter().fold(0, common_divisor).to_number()?,
        "lcm" => {
            let mut least: u128 = 1;
            for x in whole(some()?)? {
                let step = x / common_divisor(least, x).max(1);
                least = least.checked_mul(step).ok_or(Undefined::TooLarge)?;
            }
            least.to_number()?
        }
        _ => return Ok(None),
    }))
}

fn logarithm(x: Number, function: fn(f64) -> f64) -> Result<Number, Undefined> {
    if x.to_f64() <= 0.0 {
        return Err(Undefined::Domain("only a positive number has a logarithm"));
    }
    Number::approximate(function(x.to_f64()))
}

/// Half away from zero, as people round.
fn round(x: Number, digits: Number) -> Result<Number, Undefined> {
    let digits = digits
        .as_integer()
        .filter(|digits| (-30..=30).contains(digits))
        .ok_or(Undefined::Domain(
            "`round` wants a whole number of digits from -30 to 30",
        ))?;
    let scale = Number::integer(10).power(Number::integer(digits))?;
    let negative = x.to_f64() < 0.0;
    let size = if negative { x.negate()? } else { x };
    let half = Number::integer(1).divide(Number::integer(2))?;
    let rounded = size.multiply(scale)?.add(half)?.floor()?.divide(scale)?;
    if negative { rounded.negate() } else { Ok(rounded) }
}

/// The factorial, also written `!`.
pub(super) fn factorial(x: Number) -> Result<Number, Undefined> {
    let n = x
        .as_integer()
        .filter(|n| (0..=170).contains(n))
        .ok_or(Undefined::Domain(
            "a factorial is of a whole number from 0 to 170",
        ))?;
    (2..=n).try_fold(Number::integer(1), |product, factor| {
        product.multiply(Number::integer(factor))
    })
}

fn whole(numbers: &[Number]) -> Result<Vec<u128>, Undefined> {
    let wanted = Undefined::Domain("`gcd` and `lcm` are of whole numbers");
    numbers
        .iter()
        .map(|x| {
            x.as_integer()
                .map(i128::unsigned_abs)
                .ok_or_else(|| wanted.clone())
        })
        .collect()
}

/// `gcd` where zero is divisible by everything.
fn common_divisor(a: u128, b: u128) -> u128 {
    if a == 0 || b == 0 { a.max(b) } else { gcd(a, b) }
}

trait ToNumber {
    fn to_number(self) -> Result<Number, Undefined>;
}

impl ToNumber for u128 {
    fn to_number(self) -> Result<Number, Undefined> {
        i128::try_from(self)
            .map(Number::integer)
            .map_err(|_| Undefined::TooLarge)
    }
}
