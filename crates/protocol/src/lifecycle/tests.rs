use std::collections::HashSet;

use super::{Chart, ParkedEvent, ParkedState, SessionEvent, SessionState, TokenEvent, TokenState};

const CHARTS: [(&str, Chart); 3] = [
    ("parked call", ParkedState::CHART),
    ("session up", SessionState::CHART),
    ("session down", TokenState::CHART),
];

#[test]
fn every_state_is_reached_and_every_life_can_end() {
    for (life, chart) in CHARTS {
        // Forwards from the beginning, then backwards from the ends.
        let mut reached = HashSet::from([chart.initial]);
        let mut ending: HashSet<&str> = chart.finals.iter().copied().collect();
        for _ in chart.states {
            for row in chart.rows {
                if reached.contains(row.from) {
                    reached.insert(row.to);
                }
                if ending.contains(row.to) {
                    ending.insert(row.from);
                }
            }
        }
        for (state, _) in chart.states {
            assert!(reached.contains(state), "{life}: nothing leads to {state}");
            assert!(ending.contains(state), "{life}: {state} has no way to an end");
        }
    }
}

#[test]
fn a_row_is_decided_by_state_and_event() {
    for (life, chart) in CHARTS {
        let mut seen = HashSet::new();
        for row in chart.rows {
            assert!(seen.insert((row.from, row.event)), "{life}: two rows for {row:?}");
            assert!(!chart.finals.contains(&row.from), "{life}: {row:?} leaves an end");
        }
    }
}

#[test]
fn every_event_happens_somewhere_and_every_row_says_why() {
    for (life, chart) in CHARTS {
        for (event, meaning) in chart.events {
            assert!(
                chart.rows.iter().any(|row| row.event == *event),
                "{life}: {event}"
            );
            assert!(!meaning.trim().is_empty(), "{life}: {event} means nothing");
        }
        for row in chart.rows {
            assert!(!row.why.is_empty() && !row.why.contains('|'), "{life}: {row:?}");
        }
    }
}

macro_rules! agrees_with_its_table {
    ($test:ident, $State:ident, $Event:ident) => {
        #[test]
        fn $test() {
            for &state in $State::ALL {
                for &event in $Event::ALL {
                    let rows: Vec<_> = $State::CHART
                        .rows
                        .iter()
                        .filter(|row| row.from == state.name() && row.event == event.name())
                        .map(|row| row.to)
                        .collect();
                    let led: Vec<_> = state.on(event).map($State::name).into_iter().collect();
                    assert_eq!(led, rows, "{state:?} on {event:?}");
                }
                assert_eq!(
                    state.is_final(),
                    $State::CHART.finals.contains(&state.name()),
                    "{state:?}"
                );
            }
        }
    };
}

agrees_with_its_table!(a_parked_call_follows_its_table, ParkedState, ParkedEvent);
agrees_with_its_table!(a_session_follows_its_table, SessionState, SessionEvent);
agrees_with_its_table!(a_token_follows_its_table, TokenState, TokenEvent);

/// A life from its beginning through `events`; `None` once something cannot happen.
fn parked(events: &[ParkedEvent]) -> Option<ParkedState> {
    events
        .iter()
        .try_fold(ParkedState::INITIAL, |state, &event| state.on(event))
}

#[test]
fn a_parked_call_goes_on_after_its_rounds() {
    use ParkedEvent::{
        Asked, Cancelled, Expired, Failed, Responded, RetriedInFull, RetriedInPart, Settled, Stopping,
    };
    let round = [Asked, Asked, Settled, RetriedInPart, RetriedInFull];
    assert_eq!(parked(&round), Some(ParkedState::Calling));
    let two = [&round[..], &round[..], &[Responded]].concat();
    assert_eq!(parked(&two), Some(ParkedState::Done));
    // Nobody waits for a parked call, so nobody can cancel it.
    assert_eq!(parked(&[Asked, Settled, Cancelled]), None);
    // An answered call has nothing more to ask.
    assert_eq!(parked(&[Asked, Settled, Responded, Asked]), None);
    assert_eq!(
        parked(&[Asked, Settled, Failed, RetriedInPart]),
        Some(ParkedState::Done)
    );
    // A late retry runs nothing.
    assert_eq!(parked(&[Asked, Settled, Expired, RetriedInFull]), None);
    assert_eq!(parked(&[Asked, Stopping]), Some(ParkedState::Abandoned));
}

#[test]
fn a_session_heals_once() {
    use SessionEvent::{Forgotten, Greeted, Needed, RepeatFailed, Surrendered};
    let life = |events: &[SessionEvent]| {
        events
            .iter()
            .try_fold(SessionState::INITIAL, |state, &event| state.on(event))
    };
    let healed = [Needed, Greeted, Forgotten, Needed, Greeted];
    assert_eq!(life(&healed), Some(SessionState::Open));
    assert_eq!(
        life(&[&healed[..], &[RepeatFailed]].concat()),
        Some(SessionState::Failed)
    );
    assert_eq!(
        life(&[Needed, Greeted, Forgotten, Surrendered]),
        Some(SessionState::Ended)
    );
    assert_eq!(life(&[Needed, Forgotten]), None);
}

#[test]
fn a_token_is_opened_again_after_a_restart_unless_it_ended() {
    let on = |state: TokenState, event| state.on(event);
    assert_eq!(
        on(TokenState::Held, TokenEvent::Restarted),
        Some(TokenState::Sealed)
    );
    assert_eq!(on(TokenState::Ended, TokenEvent::Restarted), None);
}

#[test]
fn a_chart_is_drawn() {
    let chart = Chart {
        initial: "Shut",
        finals: &["Gone"],
        states: &[("Shut", " Nobody passes."), ("Gone", " It fell.")],
        events: &[("Wind", " It blows."), ("Quake", " It shakes.")],
        rows: &[
            super::Transition {
                from: "Shut",
                event: "Wind",
                to: "Gone",
                why: "it is old",
            },
            super::Transition {
                from: "Shut",
                event: "Quake",
                to: "Gone",
                why: "it is stone",
            },
        ],
    };
    assert_eq!(
        chart.diagram(),
        "stateDiagram-v2\n    [*] --> Shut\n    Shut --> Gone: Wind, Quake\n    Gone --> [*]\n"
    );
    assert_eq!(
        chart.tables(),
        "| state | meaning |\n| --- | --- |\n| **Shut** | Nobody passes. |\n| **Gone** (end) | It fell. |\n\n\
         | event | meaning |\n| --- | --- |\n| *Wind* | It blows. |\n| *Quake* | It shakes. |\n\n\
         | in | on | to | why, and what is done |\n| --- | --- | --- | --- |\n\
         | Shut | *Wind* | Gone | it is old |\n| Shut | *Quake* | Gone | it is stone |\n"
    );
}
