//! Names that say that what they name is a secret.

/// Names that are secret wherever they stand within another: `db_password`, `X-Vault-Token`, `clientSecrets`.
const WITHIN: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "authorization",
    "cookie",
    "signingkey",
];
/// Names too short or too common for that: they are secret only as a whole.
const WHOLE: [&str; 18] = [
    "pass",
    "pwd",
    "pin",
    "otp",
    "totp",
    "cvv",
    "cvc",
    "cvv2",
    "cvc2",
    "ssn",
    "auth",
    "jwt",
    "bearer",
    "sessionid",
    "sid",
    "dsn",
    "encryptionkey",
    "cardnumber",
];
/// Names that hold one of the above and mean a number of things or a place in a list, when what they name is no text.
const COUNTS: [&str; 8] = [
    "maxtokens",
    "maxcompletiontokens",
    "maxoutputtokens",
    "totaltokens",
    "prompttokens",
    "completiontokens",
    "inputtokens",
    "outputtokens",
];
/// Which bytes any of [`WITHIN`] begins with.
const FIRST: [bool; 256] = firsts(&WITHIN);
/// Which bytes any of [`WHOLE`] begins with.
const FIRST_WHOLE: [bool; 256] = firsts(&WHOLE);
/// Longer names are compared up to here, in letters and digits.
const LONGEST: usize = 96;

/// The built-in names and what the configuration adds.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    within: Vec<Box<[u8]>>,
    whole: Vec<Box<[u8]>>,
}

const fn firsts<const N: usize>(names: &[&str; N]) -> [bool; 256] {
    let mut first = [false; 256];
    let mut at = 0;
    while at < N {
        first[names[at].as_bytes()[0] as usize] = true;
        at += 1;
    }
    first
}

impl Names {
    pub(super) fn new<S: AsRef<str>>(more: impl IntoIterator<Item = S>) -> Self {
        let mut names = Self::default();
        for name in more {
            let name = Plain::of(name.as_ref().as_bytes());
            match name.text() {
                [] => {}
                // `id` within `width` would mask half of everything.
                short if short.len() < 5 => names.whole.push(short.into()),
                long => names.within.push(long.into()),
            }
        }
        names
    }

    /// Whether `name` says that its value is a secret.
    pub(super) fn say_secret(&self, name: &[u8]) -> bool {
        let plain = Plain::of(name);
        let name = plain.text();
        let whole = |secret: &[u8]| name == secret || name.strip_suffix(b"s") == Some(secret);
        // Most names hold no letter that any of them begins with and what follows it.
        let built_in = |(at, byte): (usize, &u8)| {
            FIRST[usize::from(*byte)]
                && name
                    .get(at..)
                    .is_some_and(|rest| WITHIN.iter().any(|secret| rest.starts_with(secret.as_bytes())))
        };
        name.first().is_some_and(|first| FIRST_WHOLE[usize::from(*first)])
            && WHOLE.iter().any(|secret| whole(secret.as_bytes()))
            || name.iter().enumerate().any(built_in)
            || self.whole.iter().any(|secret| whole(secret))
            || self.within.iter().any(|secret| holds(name, secret))
    }

    /// Whether it is a built-in name's harmless relative: `max_tokens` with a number is no secret.
    pub(super) fn may_be_a_count(&self, name: &[u8]) -> bool {
        let plain = Plain::of(name);
        COUNTS.iter().any(|count| plain.text() == count.as_bytes())
            && !self.within.iter().any(|secret| holds(plain.text(), secret))
    }
}

fn holds(name: &[u8], secret: &[u8]) -> bool {
    let Some(first) = secret.first() else { return false };
    name.len() >= secret.len()
        && memchr::memchr_iter(*first, name).any(|at| name.get(at..at + secret.len()) == Some(secret))
}

/// A name in lower case without its separators.
struct Plain {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Plain {
    fn of(name: &[u8]) -> Self {
        let mut plain = Self {
            bytes: [0; LONGEST],
            length: 0,
        };
        let kept = name
            .iter()
            .filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
        for (place, byte) in plain.bytes.iter_mut().zip(kept) {
            *place = byte.to_ascii_lowercase();
            plain.length += 1;
        }
        plain
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn case_and_separators_do_not_matter() {
        let names = Names::new(["Employee No", "vin"]);
        for name in [
            "password",
            "PASSWORD",
            "db_password",
            "X-Api-Key",
            "apiKeys",
            "api key",
            "client.secret",
            "accessToken",
            "Set-Cookie",
            "AWS_SECRET_ACCESS_KEY",
            "pin",
            "PINs",
            "employeeNo",
            "employee_no_2",
            "VIN",
            "credentials",
        ] {
            assert!(names.say_secret(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "name",
            "pineapple",
            "passenger",
            "author",
            "monkey",
            "key",
            "vinyl",
            "spin",
            "compass",
            "sort_key",
        ] {
            assert!(!names.say_secret(name.as_bytes()), "{name}");
        }
    }
}
