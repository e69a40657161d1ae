//! A life as text, for the documentation.

use std::fmt::Write as _;

use super::Transition;

/// A life in words: what [`diagram`](Self::diagram) and [`tables`](Self::tables) are made from.
#[derive(Debug, Clone, Copy)]
pub struct Chart {
    /// The state it begins in.
    pub initial: &'static str,
    /// The states it ends in.
    pub finals: &'static [&'static str],
    /// Its states, each with its meaning.
    pub states: &'static [(&'static str, &'static str)],
    /// Its events, each with its meaning.
    pub events: &'static [(&'static str, &'static str)],
    /// Its table.
    pub rows: &'static [Transition<&'static str, &'static str>],
}

impl Chart {
    /// A Mermaid `stateDiagram-v2`, without the fence. Events that lead the same way share an arrow.
    #[must_use]
    pub fn diagram(&self) -> String {
        let mut out = String::from("stateDiagram-v2\n");
        line(&mut out, format_args!("    [*] --> {}", self.initial));
        for (place, row) in self.rows.iter().enumerate() {
            let same = |other: &Transition<&str, &str>| other.from == row.from && other.to == row.to;
            if self.rows[..place].iter().any(same) {
                continue;
            }
            let events: Vec<&str> = self.rows[place..]
                .iter()
                .filter(|other| same(other))
                .map(|row| row.event)
                .collect();
            line(
                &mut out,
                format_args!("    {} --> {}: {}", row.from, row.to, events.join(", ")),
            );
        }
        for end in self.finals {
            line(&mut out, format_args!("    {end} --> [*]"));
        }
        out
    }

    /// Three Markdown tables: states, events, transitions.
    #[must_use]
    pub fn tables(&self) -> String {
        let mut out = String::from("| state | meaning |\n| --- | --- |\n");
        for (name, meaning) in self.states {
            let end = if self.finals.contains(name) { " (end)" } else { "" };
            line(&mut out, format_args!("| **{name}**{end} | {} |", meaning.trim()));
        }
        out.push_str("\n| event | meaning |\n| --- | --- |\n");
        for (name, meaning) in self.events {
            line(&mut out, format_args!("| *{name}* | {} |", meaning.trim()));
        }
        out.push_str("\n| in | on | to | why, and what is done |\n| --- | --- | --- | --- |\n");
        for row in self.rows {
            line(
                &mut out,
                format_args!("| {} | *{}* | {} | {} |", row.from, row.event, row.to, row.why),
            );
        }
        out
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = writeln!(out, "{text}");
}
