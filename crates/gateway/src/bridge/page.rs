//! A legacy server refuses a call until its user has visited a page (-32042). To a modern client that is a question like
//! any other: it gets `input_required`, and the call is sent again once the user agreed. Nothing is parked, because the
//! server has already ended the call.
//!
//! Source: `docs/eras.md` 5.5; MCP 2025-11-25, client/elicitation, URL Elicitation Required Error.

use std::time::Duration;

use gatepost_protocol::{
    ask::{Answers, Ask, AskKind, pages},
    envelope::Response,
    json::{self, Span},
};

/// How long a server may take to say that the user is done, before it is called again without that word.
pub(crate) const COMPLETES_WITHIN: Duration = Duration::from_secs(10);

/// The pages of one refusal, in order, under the keys that the client answers to.
pub(crate) struct Pages {
    asks: Vec<(String, Ask)>,
}

impl Pages {
    /// Those that the error names; `None` if it names none.
    pub(crate) fn of(response: &Response) -> Option<Self> {
        let asks: Vec<_> = pages(response)
            .into_iter()
            .enumerate()
            .map(|(place, ask)| (key(place), ask))
            .collect();
        (!asks.is_empty()).then_some(Self { asks })
    }

    /// Whether a client with these capabilities can be sent to a page.
    pub(crate) fn suits(&self, capabilities: &[u8]) -> bool {
        AskKind::Url.is_declared(capabilities)
    }

    /// Keys and questions.
    pub(crate) fn asks(&self) -> impl Iterator<Item = (&str, &Ask)> {
        self.asks.iter().map(|(key, ask)| (key.as_str(), ask))
    }

    /// The server's names of them; without one the end of a visit cannot be told.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.asks
            .iter()
            .map(|(_, ask)| ask.elicitation_id().unwrap_or_default().into_owned())
            .collect()
    }
}

/// What a client says of pages it was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It agreed to all of them.
    Agreed,
    /// It said nothing of some.
    Silent,
    /// It declined or dismissed one.
    Declined,
}

/// What the answers say of `count` pages.
pub(crate) fn verdict(answers: &Answers, count: usize) -> Verdict {
    let mut verdict = Verdict::Agreed;
    for place in 0..count {
        let key = key(place);
        let answer = answers
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, answer)| answer);
        let action = answer.and_then(|answer| {
            let members = json::object(answer, Span::all(answer)).ok()?;
            json::text(answer, members.get(answer, "action")?)
        });
        match action.as_deref() {
            Some("accept") => {}
            None => verdict = Verdict::Silent,
            Some(_) => return Verdict::Declined,
        }
    }
    verdict
}

fn key(place: usize) -> String {
    format!("ask-{}", place + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_must_be_agreed_to() {
        let answers = |list: &[(&str, &'static str)]| -> Answers {
            let answer = |(key, raw): &(&str, &'static str)| {
                ((*key).to_owned(), bytes::Bytes::from_static(raw.as_bytes()))
            };
            list.iter().map(answer).collect()
        };
        let yes = r#"{"action":"accept"}"#;
        assert_eq!(
            verdict(&answers(&[("ask-1", yes), ("ask-2", yes), ("x", "{}")]), 2),
            Verdict::Agreed
        );
        assert_eq!(verdict(&answers(&[("ask-1", yes)]), 2), Verdict::Silent);
        let no = r#"{"action":"decline"}"#;
        assert_eq!(
            verdict(&answers(&[("ask-1", yes), ("ask-2", no)]), 2),
            Verdict::Declined
        );
    }
}
