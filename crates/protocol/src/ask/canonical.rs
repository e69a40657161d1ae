//! One spelling of equal JSON, so that two copies of a call can be compared after a client has written them anew.

use crate::json::{self, Kind, Span};

/// Writes the value at `span` of a validated message with its members sorted by name, strings in one spelling and no white
/// space. Numbers keep their digits: nothing is known of what they mean.
pub fn canonical(raw: &[u8], span: Span, out: &mut Vec<u8>) {
    match json::kind(raw, span) {
        Some(Kind::Object) => {
            let Ok(members) = json::object(raw, span) else {
                return;
            };
            let mut named: Vec<_> = members
                .iter()
                .map(|member| (json::text(raw, member.key).unwrap_or_default(), member.value))
                .collect();
            named.sort_by(|(a, _), (b, _)| a.cmp(b));
            out.push(b'{');
            for (place, (name, value)) in named.into_iter().enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                json::quote_into(out, &name);
                out.push(b':');
                canonical(raw, value, out);
            }
            out.push(b'}');
        }
        Some(Kind::Array) => {
            out.push(b'[');
            for (place, item) in json::items(raw, span).enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                canonical(raw, item, out);
            }
            out.push(b']');
        }
        Some(Kind::String) => match json::text(raw, span) {
            Some(text) => json::quote_into(out, &text),
            None => out.extend_from_slice(span.of(raw)),
        },
        _ => out.extend_from_slice(span.of(raw)),
    }
}
