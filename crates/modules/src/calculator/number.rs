//! Numbers that stay exact as long as they can.

/// How many digits after the point an exact decimal may have before it is rounded.
const MAX_PLACES: u32 = 30;

/// A finite number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Number {
    /// `numerator / denominator`, in lowest terms, the denominator positive.
    Exact { numerator: i128, denominator: i128 },
    /// The nearest binary fraction, never infinite and never NaN.
    Approximate(f64),
}

/// What has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Undefined {
    #[error("division by zero")]
    DivisionByZero,
    #[error("the result is too large (about 1e308 is the most)")]
    TooLarge,
    #[error("{0}")]
    Domain(&'static str),
}

// === impl Number ===

impl Number {
    pub(super) const ZERO: Self = Self::integer(0);

    pub(super) const fn integer(value: i128) -> Self {
        Self::Exact {
            numerator: value,
            denominator: 1,
        }
    }

    /// `numerator / denominator` in lowest terms; `None` where 128 bits do not hold it or the denominator is zero.
    pub(super) fn ratio(numerator: i128, denominator: i128) -> Option<Self> {
        let divisor = i128::try_from(gcd(numerator.unsigned_abs(), denominator.unsigned_abs())).ok()?;
        if denominator == 0 {
            return None;
        }
        let (numerator, denominator) = (numerator / divisor, denominator / divisor);
        Some(if denominator < 0 {
            Self::Exact {
                numerator: numerator.checked_neg()?,
                denominator: denominator.checked_neg()?,
            }
        } else {
            Self::Exact {
                numerator,
                denominator,
            }
        })
    }

    /// A binary fraction that some function gave.
    pub(super) fn approximate(value: f64) -> Result<Self, Undefined> {
        if value.is_nan() {
            Err(Undefined::Domain("the function has no real value there"))
        } else if value.is_infinite() {
            Err(Undefined::TooLarge)
        } else {
            // Adding zero makes -0 plain 0.
            Ok(Self::Approximate(value + 0.0))
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "this is where precision is given up, knowingly"
    )]
    pub(super) fn to_f64(self) -> f64 {
        match self {
            Self::Exact {
                numerator,
                denominator,
            } => numerator as f64 / denominator as f64,
            Self::Approximate(value) => value,
        }
    }

    /// The value if it is a whole number that is known exactly.
    pub(super) fn as_integer(self) -> Option<i128> {
        match self {
            Self::Exact {
                numerator,
                denominator: 1,
            } => Some(numerator),
            _ => None,
        }
    }

    pub(super) fn is_zero(self) -> bool {
        self.to_f64() == 0.0
    }

    pub(super) fn negate(self) -> Result<Self, Undefined> {
        Self::ZERO.subtract(self)
    }

    pub(super) fn add(self, other: Self) -> Result<Self, Undefined> {
        let exact = self.parts(other).and_then(|((a, b), (c, d))| {
            let top = a.checked_mul(d)?.checked_add(c.checked_mul(b)?)?;
            Self::ratio(top, b.checked_mul(d)?)
        });
        exact.map_or_else(|| Self::approximate(self.to_f64() + other.to_f64()), Ok)
    }

    pub(super) fn subtract(self, other: Self) -> Result<Self, Undefined> {
        let exact = self.parts(other).and_then(|((a, b), (c, d))| {
            let top = a.checked_mul(d)?.checked_sub(c.checked_mul(b)?)?;
            Self::ratio(top, b.checked_mul(d)?)
        });
        exact.map_or_else(|| Self::approximate(self.to_f64() - other.to_f64()), Ok)
    }

    pub(super) fn multiply(self, other: Self) -> Result<Self, Undefined> {
        let exact = self
            .parts(other)
            .and_then(|((a, b), (c, d))| Self::ratio(a.checked_mul(c)?, b.checked_mul(d)?));
        exact.map_or_else(|| Self::approximate(self.to_f64() * other.to_f64()), Ok)
    }

    pub(super) fn divide(self, other: Self) -> Result<Self, Undefined> {
        if other.is_zero() {
            return Err(Undefined::DivisionByZero);
        }
        let exact = self
            .parts(other)
            .and_then(|((a, b), (c, d))| Self::ratio(a.checked_mul(d)?, b.checked_mul(c)?));
        exact.map_or_else(|| Self::approximate(self.to_f64() / other.to_f64()), Ok)
    }

    /// The remainder of the division rounded down, so it has the sign of `other`.
    pub(super) fn remainder(self, other: Self) -> Result<Self, Undefined> {
        let whole = self.divide(other)?.floor()?;
        self.subtract(other.multiply(whole)?)
    }

    pub(super) fn power(self, exponent: Self) -> Result<Self, Undefined> {
        if let (
            Self::Exact {
                numerator,
                denominator,
            },
            Some(times),
        ) = (self, exponent.as_integer())
        {
            if numerator == 0 && times < 0 {
                return Err(Undefined::DivisionByZero);
            }
            let exact = u32::try_from(times.unsigned_abs())
                .ok()
                .and_then(|times| Some((numerator.checked_pow(times)?, denominator.checked_pow(times)?)));
            let exact = exact.and_then(|(top, bottom)| {
                if times < 0 {
                    Self::ratio(bottom, top)
                } else {
                    Self::ratio(top, bottom)
                }
            });
            if let Some(exact) = exact {
                return Ok(exact);
            }
        }
        if self.to_f64() < 0.0 && exponent.to_f64().fract() != 0.0 {
            return Err(Undefined::Domain(
                "a negative number has no real power with a fraction as its exponent",
            ));
        }
        Self::approximate(self.to_f64().powf(exponent.to_f64()))
    }

    pub(super) fn floor(self) -> Result<Self, Undefined> {
        match self {
            Self::Exact {
                numerator,
                denominator,
            } => Ok(Self::integer(numerator.div_euclid(denominator))),
            Self::Approximate(value) => Self::approximate(value.floor()),
        }
    }

    /// The square root, exact where numerator and denominator are squares.
    pub(super) fn square_root(self) -> Result<Self, Undefined> {
        if self.to_f64() < 0.0 {
            return Err(Undefined::Domain("a negative number has no real square root"));
        }
        if let Self::Exact {
            numerator,
            denominator,
        } = self
        {
            let (top, bottom) = (numerator.isqrt(), denominator.isqrt());
            if top * top == numerator && bottom * bottom == denominator {
                return Ok(Self::Exact {
                    numerator: top,
                    denominator: bottom,
                });
            }
        }
        Self::approximate(self.to_f64().sqrt())
    }

    /// The order of the two values, exact where both are.
    pub(super) fn compare(self, other: Self) -> std::cmp::Ordering {
        self.parts(other)
            .and_then(|((a, b), (c, d))| Some(a.checked_mul(d)?.cmp(&c.checked_mul(b)?)))
            .unwrap_or_else(|| self.to_f64().total_cmp(&other.to_f64()))
    }

    /// The value in decimal, and whether that is all of it.
    pub(super) fn decimal(self) -> (String, bool) {
        match self {
            Self::Exact {
                numerator,
                denominator,
            } => match terminating(numerator, denominator) {
                Some(text) => (text, true),
                None => (float(self.to_f64()), false),
            },
            Self::Approximate(value) => (float(value), false),
        }
    }

    /// The value as `numerator/denominator`, if it is known.
    pub(super) fn fraction(self) -> Option<String> {
        match self {
            Self::Exact {
                numerator,
                denominator,
            } => Some(format!("{numerator}/{denominator}")),
            Self::Approximate(_) => None,
        }
    }

    fn parts(self, other: Self) -> Option<((i128, i128), (i128, i128))> {
        match (self, other) {
            (
                Self::Exact {
                    numerator: a,
                    denominator: b,
                },
                Self::Exact {
                    numerator: c,
                    denominator: d,
                },
            ) => Some(((a, b), (c, d))),
            _ => None,
        }
    }
}

pub(super) fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

/// Shortest digits that read back as the same number; a plain decimal unless it would be very long.
fn float(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-7..1e21).contains(&size) {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

/// A decimal of at most [`MAX_PLACES`] places that is exactly the fraction.
fn terminating(numerator: i128, denominator: i128) -> Option<String> {
    let sign = if numerator < 0 { "-" } else { "" };
    let (top, bottom) = (numerator.unsigned_abs(), denominator.unsigned_abs());
    let (whole, mut rest) = (top / bottom, top % bottom);
    let mut text = format!("{sign}{whole}");
    if rest != 0 {
        text.push('.');
    }
    let mut places = 0;
    while rest != 0 {
        if places == MAX_PLACES {
            return None;
        }
        rest = rest.checked_mul(10)?;
        text.push(char::from_digit(u32::try_from(rest / bottom).ok()?, 10)?);
        rest %= bottom;
        places += 1;
    }
    Some(text)
}
