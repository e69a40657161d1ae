//! The lives of what the gate keeps, as tables of transitions.
//!
//! A life is written once, as rows "from, event, to, why", and `docs/lifecycles.md` is made from the same rows. What is not in
//! a table cannot happen. The code that carries a parked call asks [`on`](ParkedState::on) where an event leads and has no
//! arrows of its own; `None` is the fault it is (a late event of a life that is over, or a mistake of the gate's own).
//! Sessions, whose state lies in what is held of them, are held to their tables by tests that walk every way through.

mod chart;
mod parked;
mod session;
mod token;

pub use chart::Chart;
pub use parked::{ParkedEvent, ParkedState};
pub use session::{SessionEvent, SessionState};
pub use token::{TokenEvent, TokenState};

/// One row: in `from`, `event` leads to `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition<S, E> {
    /// The state before.
    pub from: S,
    /// What happens.
    pub event: E,
    /// The state after; `from` again where something is only noted.
    pub to: S,
    /// What the gate does then, and what asks for it: a section of `docs/eras.md` or of the specification.
    pub why: &'static str,
}

/// Writes a life down: its states and events with what they mean, and its rows. Makes the two enums, the lookup, and the
/// [`Chart`] that the documentation is made from.
macro_rules! lifecycle {
    (
        $(#[$about_states:meta])*
        states $State:ident {
            $($(#[doc = $state_means:literal])+ $state:ident,)+
        }
        begins $initial:ident;
        ends $($end:ident),+;

        $(#[$about_events:meta])*
        events $Event:ident {
            $($(#[doc = $event_means:literal])+ $event:ident,)+
        }

        rows {
            $($from:ident + $on:ident => $to:ident: $why:literal;)+
        }
    ) => {
        $(#[$about_states])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $State {
            $($(#[doc = $state_means])+ $state,)+
        }

        $(#[$about_events])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $Event {
            $($(#[doc = $event_means])+ $event,)+
        }

        impl $State {
            /// Every state, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$state),+];

            /// The state a life begins in.
            pub const INITIAL: Self = Self::$initial;

            /// The table.
            pub const TRANSITIONS: &[$crate::lifecycle::Transition<Self, $Event>] = &[
                $($crate::lifecycle::Transition {
                    from: Self::$from,
                    event: $Event::$on,
                    to: Self::$to,
                    why: $why,
                },)+
            ];

            /// The same in words, for the documentation.
            pub const CHART: $crate::lifecycle::Chart = $crate::lifecycle::Chart {
                initial: stringify!($initial),
                finals: &[$(stringify!($end)),+],
                states: &[$((stringify!($state), concat!($($state_means),+))),+],
                events: &[$((stringify!($event), concat!($($event_means),+))),+],
                rows: &[
                    $($crate::lifecycle::Transition {
                        from: stringify!($from),
                        event: stringify!($on),
                        to: stringify!($to),
                        why: $why,
                    },)+
                ],
            };

            /// Where `event` leads from here. `None`: it cannot happen here.
            #[must_use]
            pub const fn on(self, event: $Event) -> Option<Self> {
                let mut rest = Self::TRANSITIONS;
                while let [row, later @ ..] = rest {
                    if row.from as u8 == self as u8 && row.event as u8 == event as u8 {
                        return Some(row.to);
                    }
                    rest = later;
                }
                None
            }

            /// Whether nothing can happen any more.
            #[must_use]
            pub const fn is_final(self) -> bool {
                matches!(self, $(Self::$end)|+)
            }

            /// Its name, for logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$state => stringify!($state),)+
                }
            }
        }

        impl $Event {
            /// Every event, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$event),+];

            /// Its name, for logs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$event => stringify!($event),)+
                }
            }
        }
    };
}

use lifecycle;

#[cfg(test)]
mod tests;
