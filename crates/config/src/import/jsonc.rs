//! JSON with comments and trailing commas, as VS Code has it, to JSON.

/// Blanks out comments and trailing commas. Lines stay where they are, so that an error's line is right.
pub(super) fn strip(text: &str) -> String {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    // Where the latest comma is, as long as only space and comments have followed it.
    let mut comma: Option<usize> = None;
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('"', _) => {
                comma = None;
                plain.push(c);
                while let Some(c) = chars.next() {
                    plain.push(c);
                    match c {
                        '\\' => plain.extend(chars.next()),
                        '"' => break,
                        _ => {}
                    }
                }
            }
            ('/', Some('/')) => while chars.next_if(|c| *c != '\n').is_some() {},
            ('/', Some('*')) => {
                chars.next();
                let mut star = false;
                for c in chars.by_ref() {
                    if c == '\n' {
                        plain.push(c);
                    }
                    if star && c == '/' {
                        break;
                    }
                    star = c == '*';
                }
                plain.push(' ');
            }
            ('}' | ']', _) => {
                if let Some(at) = comma.take() {
                    plain.replace_range(at..=at, " ");
                }
                plain.push(c);
            }
            _ => {
                if c == ',' {
                    comma = Some(plain.len());
                } else if !c.is_ascii_whitespace() {
                    comma = None;
                }
                plain.push(c);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::strip;

    #[track_caller]
    fn check(text: &str, value: &serde_json::Value) {
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&strip(text)).unwrap(),
            *value
        );
    }

    #[test]
    fn comments_and_trailing_commas_go() {
        check(
            "\u{feff}{ // one\n \"a\": [1, 2, /* three */ ], /* * / */\n \"b\": \"x // y /* z */ \\\" ,]\",\n // end\n}",
            &serde_json::json!({ "a": [1, 2], "b": "x // y /* z */ \" ,]" }),
        );
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for text in ["{,}x", "[1,,]", "\"open", "/* open", "{\"a\":1}}"] {
            assert!(
                serde_json::from_str::<serde_json::Value>(&strip(text)).is_err(),
                "{text}"
            );
        }
    }
}
