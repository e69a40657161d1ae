//! What looks like a secret within a text: keys and tokens by their well-known beginnings, payment cards, mail addresses, private
//! keys, whatever stands behind `Bearer` or `password=`, and long words that no language has.
//!
//! Every byte is looked at a bounded number of times. No regular expressions: their union would be a large automaton built at
//! start, for texts that are mostly a few words long.

use std::ops::Range;

use super::names::Names;

/// Beginnings of keys and tokens, and how many more letters, digits and marks at least follow.
const PREFIXES: [(&[u8], usize); 40] = [
    (b"gp_", 20),
    (b"sk-", 16),
    (b"sk_live_", 8),
    (b"sk_test_", 8),
    (b"rk_live_", 8),
    (b"rk_test_", 8),
    (b"pk_live_", 8),
    (b"whsec_", 8),
    (b"ghp_", 16),
    (b"gho_", 16),
    (b"ghu_", 16),
    (b"ghs_", 16),
    (b"ghr_", 16),
    (b"github_pat_", 16),
    (b"glpat-", 12),
    (b"gldt-", 12),
    (b"xoxb-", 8),
    (b"xoxp-", 8),
    (b"xoxa-", 8),
    (b"xoxe-", 8),
    (b"xoxr-", 8),
    (b"xoxs-", 8),
    (b"xapp-", 8),
    (b"AKIA", 16),
    (b"ASIA", 16),
    (b"AIza", 30),
    (b"ya29.", 16),
    (b"npm_", 30),
    (b"pypi-", 30),
    (b"hf_", 24),
    (b"hvs.", 16),
    (b"dop_v1_", 30),
    (b"shpat_", 20),
    (b"shpss_", 20),
    (b"SG.", 30),
    (b"lin_api_", 20),
    (b"sq0atp-", 16),
    (b"EAACEdEose0cBA", 0),
    (b"eyJ", 17),
    (b"age-secret-key-1", 16),
];
/// Which bytes any of [`PREFIXES`] begins with.
const FIRST: [bool; 256] = {
    let mut first = [false; 256];
    let mut at = 0;
    while at < PREFIXES.len() {
        first[PREFIXES[at].0[0] as usize] = true;
        at += 1;
    }
    first
};
/// A word of this many letters and digits in which capitals, small letters and digits all occur is nobody's word.
const OPAQUE: usize = 32;
/// How far back the name in front of a `=` or `:` is looked for.
const NAME: usize = 64;
/// How a PEM block begins.
const BEGIN: &[u8] = b"-----BEGIN ";

/// Whether there is plainly no secret in `text`, at a glance: each byte is looked at once. It never says so of a text in which
/// [`find`] finds one; of most texts that are a word or two it does, and few are more.
pub(super) fn is_plain(text: &[u8]) -> bool {
    let mut seen = 0;
    let (mut word, mut longest, mut digits) = (0usize, 0usize, 0usize);
    for &byte in text {
        let kind = KIND[usize::from(byte)];
        seen |= kind;
        word = if kind & WORD == 0 { 0 } else { word + 1 };
        longest = longest.max(word);
        digits += usize::from(kind & DIGIT != 0);
    }
    // No mail address, no name with its value, no URL; no card; no key, nor the line a PEM block begins with.
    seen & SIGN == 0 && digits < 13 && longest < 10
        // What follows `Bearer` is longer, and `--password` has its dashes.
        && (seen & BLANK == 0 || longest < 8 && seen & DASH == 0)
}

const WORD: u8 = 1;
const DIGIT: u8 = 2;
const BLANK: u8 = 4;
const DASH: u8 = 8;
/// What joins a name and its value, or the parts of an address.
const SIGN: u8 = 16;
/// What [`is_plain`] asks of each byte.
const KIND: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0u8;
    loop {
        let mut kind = 0;
        if is_word(byte) {
            kind |= WORD;
        }
        if byte.is_ascii_digit() {
            kind |= DIGIT;
        }
        if byte == b' ' || byte == b'\t' {
            kind |= BLANK;
        }
        if byte == b'-' {
            kind |= DASH;
        }
        if matches!(byte, b'@' | b'=' | b':') {
            kind |= SIGN;
        }
        kinds[byte as usize] = kind;
        if byte == u8::MAX {
            break kinds;
        }
        byte += 1;
    }
};

/// The first secret that begins at or behind `from`, which is 0 or where an earlier secret ended.
pub(super) fn find(text: &[u8], from: usize, names: &Names) -> Option<Range<usize>> {
    let mut at = from;
    while let Some(&byte) = text.get(at) {
        if is_word(byte) {
            let end = run(text, at, is_word);
            if let Some(secret) = in_word(text, at..end, names) {
                return Some(secret);
            }
            at = end;
        } else if text.get(at..at + 3) == Some(b"://") {
            if let Some(secret) = user_info(text, at + 3) {
                return Some(secret);
            }
            at += 3;
        } else {
            at += 1;
        }
    }
    None
}

/// What begins within one word, or is said by it to follow. The earliest that is found, or something around it.
fn in_word(text: &[u8], word: Range<usize>, names: &Names) -> Option<Range<usize>> {
    if let Some(secret) = within(text, &word) {
        return Some(secret);
    }
    let mut value = named(text, &word, names)?;
    // `token: -----BEGIN …`, `pin=4111 1111 …`: what begins in the value may end behind it.
    let mut at = value.start;
    while at < value.end {
        let end = run(text, at, is_word);
        if let Some(secret) = within(text, &(at..end)).filter(|_| end > at) {
            value.end = value.end.max(secret.end);
        }
        at = end.max(at + 1);
    }
    Some(value)
}

/// What is seen to be a secret without anything in front of it.
fn within(text: &[u8], word: &Range<usize>) -> Option<Range<usize>> {
    let bytes = text.get(word.clone())?;
    // Whatever the dashes are glued to goes with them.
    if bytes.ends_with(BEGIN.trim_ascii_end()) && text.get(word.end) == Some(&b' ') {
        return Some(word.start..pem_end(text, word.end));
    }
    // Most words of most texts: too short for a key, no card's number, no mail address.
    if bytes.len() < 11 && text.get(word.end) != Some(&b'@') && !bytes.iter().any(u8::is_ascii_digit) {
        return None;
    }
    key(text, word)
        .into_iter()
        .chain(card_within(text, word))
        .chain(opaque(text, word))
        .chain(mail(text, word))
        .min_by_key(|found| (found.start, usize::MAX - found.end))
}

/// A key or token, known by how it begins.
fn key(text: &[u8], word: &Range<usize>) -> Option<Range<usize>> {
    if word.len() < 11 {
        return None;
    }
    word.clone()
        .filter(|&at| {
            let begins = at == word.start || !text.get(at - 1).is_some_and(u8::is_ascii_alphanumeric);
            begins && text.get(at).is_some_and(|&byte| FIRST[usize::from(byte)])
        })
        .find(|&at| {
            let rest = text.get(at..word.end).unwrap_or_default();
            PREFIXES
                .iter()
                .any(|(prefix, more)| rest.len() >= prefix.len() + more && rest.starts_with(prefix))
        })
        .map(|at| at..run(text, word.end, |byte| byte == b'='))
}

/// A long word that mixes capitals, small letters and digits.
fn opaque(text: &[u8], word: &Range<usize>) -> Option<Range<usize>> {
    if word.len() < OPAQUE {
        return None;
    }
    let bytes = text.get(word.clone())?;
    let end = run(text, word.end, |byte| byte == b'=');
    // The secret half of an AWS key: 40 characters of Base64, which has `/`.
    if bytes.len() == 40
        && bytes
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'+'))
        && mixed(bytes, 1)
    {
        return Some(word.start..end);
    }
    let mut start = word.start;
    for part in bytes.split(|&byte| matches!(byte, b'/' | b'.' | b'~' | b'%')) {
        if part.len() >= OPAQUE && mixed(part, 2) {
            return Some(start..end);
        }
        start += part.len() + 1;
    }
    None
}

fn mixed(bytes: &[u8], least: usize) -> bool {
    let count = |kind: fn(&u8) -> bool| bytes.iter().filter(|byte| kind(byte)).count();
    count(u8::is_ascii_uppercase) >= least
        && count(u8::is_ascii_lowercase) >= least
        && count(u8::is_ascii_digit) >= least
}

/// A payment card's number that begins within a word; it may go on behind it, in groups.
fn card_within(text: &[u8], word: &Range<usize>) -> Option<Range<usize>> {
    let mut at = word.start;
    while at < word.end {
        if !text.get(at)?.is_ascii_digit() {
            at += 1;
            continue;
        }
        if let Some(end) = card(text, at) {
            return Some(at..end);
        }
        at = run(text, at, |byte| byte.is_ascii_digit());
    }
    None
}

/// Where the card's number ends that begins at `at`: 13 to 19 digits (ISO/IEC 7812) that begin as the networks' do, alone or
/// in groups with a space or `-` between, whose check digit is right.
fn card(text: &[u8], at: usize) -> Option<usize> {
    if !matches!(text.get(at)?, b'2'..=b'6') || at > 0 && text.get(at - 1).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let mut digits = [0; 19];
    let (mut count, mut end) = (0, at);
    loop {
        match text.get(end) {
            Some(byte) if byte.is_ascii_digit() => {
                *digits.get_mut(count)? = byte - b'0';
                count += 1;
                end += 1;
            }
            Some(b' ' | b'-') if text.get(end + 1).is_some_and(u8::is_ascii_digit) => {
                // `4111111111111111 2` is a number and another: a group ends it if it is one by then.
                if count >= 13 && luhn(digits.get(..count)?) {
                    return Some(end);
                }
                end += 1;
            }
            _ => return (count >= 13 && luhn(digits.get(..count)?)).then_some(end),
        }
    }
}

/// The check digit of ISO/IEC 7812.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, &digit)| match (at % 2, digit) {
            (0, digit) => u32::from(digit),
            (_, digit) if digit > 4 => u32::from(digit) * 2 - 9,
            (_, digit) => u32::from(digit) * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// A mail address whose local part ends this word.
fn mail(text: &[u8], word: &Range<usize>) -> Option<Range<usize>> {
    if text.get(word.end) != Some(&b'@') {
        return None;
    }
    let local = text.get(word.clone())?;
    let length = local
        .iter()
        .rev()
        .take_while(|byte| !matches!(byte, b'/' | b'~'))
        .count();
    let begin = word.end + 1;
    let mut end = run(text, begin, |byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')
    });
    while end > begin && !text.get(end - 1)?.is_ascii_alphanumeric() {
        end -= 1;
    }
    let domain = text.get(begin..end)?;
    let dot = domain.iter().rposition(|&byte| byte == b'.')?;
    let top = domain.get(dot + 1..)?;
    (length > 0 && dot > 0 && top.len() >= 2 && top.first()?.is_ascii_alphabetic())
        .then_some(word.end - length..end)
}

/// The password of `scheme://user:password@host`, or the user if that is all there is and is long. `at` is behind `://`.
fn user_info(text: &[u8], at: usize) -> Option<Range<usize>> {
    let end = run(text, at, |byte| {
        !matches!(byte, b'/' | b'?' | b'#' | b'"' | b'\'' | b'<' | b'>') && byte > b' '
    });
    let sign = at + text.get(at..end)?.iter().rposition(|&byte| byte == b'@')?;
    let user = text.get(at..sign)?;
    let start = user
        .iter()
        .position(|&byte| byte == b':')
        .map_or(at, |colon| at + colon + 1);
    let secret = text.get(start..sign)?;
    let long = start > at || secret.len() >= 16;
    (long && !secret.is_empty() && secret != super::MASKED.as_bytes()).then_some(start..sign)
}

/// A value whose name or scheme this word is: `password=…`, `"token": "…"`, `Authorization: …`, `Bearer …`, `--secret …`.
fn named(text: &[u8], word: &Range<usize>, names: &Names) -> Option<Range<usize>> {
    let name = text.get(word.start.max(word.end.saturating_sub(NAME))..word.end)?;
    let blank = |byte| byte == b' ' || byte == b'\t';
    let after = run(text, word.end, blank);
    if after > word.end {
        let value = after..run(text, after, |byte| is_word(byte) || byte == b'=');
        let scheme = |scheme: &[u8]| name.eq_ignore_ascii_case(scheme);
        let credentials = text.get(value.clone()).is_some_and(|value| {
            value.len() >= 8
                && (scheme(b"bearer")
                    || scheme(b"basic")
                        && value
                            .iter()
                            .any(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase() || *byte == b'='))
        });
        if credentials {
            return Some(value);
        }
        if name.starts_with(b"--") && names.say_secret(name) {
            return value_at(text, after, Until::Blank);
        }
    }
    // Between a name and its `:` may be the quote that ends it, which may be escaped itself.
    let mut sign = word.end;
    sign = run(text, sign, |byte| byte == b'\\');
    sign += usize::from(matches!(text.get(sign), Some(b'"' | b'\'')));
    sign = run(text, sign, blank);
    let byte = *text.get(sign)?;
    if !matches!(byte, b'=' | b':') || !names.say_secret(name) {
        return None;
    }
    let start = run(text, sign + 1, |byte| {
        blank(byte) || matches!(byte, b'=' | b':' | b'>')
    });
    let until = match byte {
        b':' if start > sign + 1 => Until::Line,
        _ => Until::Blank,
    };
    value_at(text, start, until)
}

/// Where a value ends that no quote ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    /// As in `password=… user=…`, a query, or a command.
    Blank,
    /// As in `Password: …`.
    Line,
}

fn value_at(text: &[u8], at: usize, until: Until) -> Option<Range<usize>> {
    let start = run(text, at, |byte| byte == b'\\');
    if let Some(&quote @ (b'"' | b'\'')) = text.get(start) {
        let inner = start + 1;
        let mut end = inner;
        loop {
            end = run(text, end, |byte| byte != quote && byte != b'\\');
            // `\"` ends a value that began with `\"`, and does not end one that began with `"`.
            match text.get(end) {
                Some(b'\\') if start == at => end = (end + 2).min(text.len()),
                _ => break,
            }
        }
        return unless_masked(text, inner..end);
    }
    let end = run(text, at, |byte| match until {
        Until::Blank => byte > b' ' && !matches!(byte, b'&' | b';' | b'"' | b'\''),
        Until::Line => byte != b'\n' && byte != b'\r',
    });
    unless_masked(text, at..end)
}

fn unless_masked(text: &[u8], value: Range<usize>) -> Option<Range<usize>> {
    let bytes = text.get(value.clone())?;
    (!bytes.is_empty() && bytes != super::MASKED.as_bytes()).then_some(value)
}

/// Behind the PEM block whose first line is under way at `at`; the end of the text if it does not end.
fn pem_end(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let Some(last) = memchr::memmem::find(rest, b"-----END ") else {
        return text.len();
    };
    let name = last + 9;
    let dashes = memchr::memmem::find(rest.get(name..).unwrap_or_default(), b"-----");
    let Some(end) = dashes.map(|dashes| at + name + dashes + 5) else {
        return text.len();
    };
    // They begin another block rather than end this one.
    if text.get(end..).is_some_and(|rest| rest.starts_with(b"BEGIN ")) {
        return pem_end(text, end);
    }
    end
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+' | b'/' | b'~' | b'%')
}

/// The end of the run of bytes that begins at `at`.
fn run(text: &[u8], at: usize, goes_on: impl Fn(u8) -> bool) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|&&byte| goes_on(byte)).count()
}
