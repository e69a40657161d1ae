//! Where calls wait for their modern clients: a legacy server has asked, the client was told, and until it sends the call
//! again somebody must keep the server's stream open, hear what else comes, and end it all when nobody returns.
//!
//! Each parked call is kept by a task of its own, which hands it over to the retry that opens its place.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use gatepost_config::{Asks, ServerKind};
use gatepost_policy::Principal;
use gatepost_protocol::{
    ask::{Answers, AskKind},
    envelope::Message,
    lifecycle::{ParkedEvent, ParkedState},
};
use tokio::{
    sync::oneshot,
    time::{Instant, interval_at, sleep_until},
};

use super::{gather::Gather, state::Stale};
use crate::{
    gate::Gate,
    seal::{SealError, random},
    upstream::{CallError, Events, Server},
};

/// How often a server that waits for an answer is asked whether it is alive, so that its session does not look idle to it.
const ALIVE: Duration = Duration::from_secs(60);

/// Every parked call of this process.
pub(crate) struct Parking {
    /// Tells the tokens of this process from those of others.
    owner: u64,
    next: AtomicU64,
    places: Mutex<HashMap<u64, Place>>,
    expired: AtomicUsize,
}

/// A parked call's place.
struct Place {
    nonce: [u8; 12],
    principal: Principal,
    server: Arc<str>,
    /// What its client was asked.
    asks: Vec<(String, AskKind)>,
    /// Asks the keeper for the call.
    claim: oneshot::Sender<oneshot::Sender<Parked>>,
}

/// A call that waits for its client.
pub(crate) struct Parked {
    /// The server's stream, while the server may still say something.
    pub(crate) events: Option<Events>,
    pub(crate) gather: Gather,
    /// What came meanwhile and is for the retry: the response, or why there will be none.
    pub(crate) last: Option<Result<Message, CallError>>,
}

/// Opens a place, once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    pub(crate) owner: u64,
    pub(crate) place: u64,
    pub(crate) nonce: [u8; 12],
}

/// No place is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// For this caller.
    #[error(
        "{0} calls of this caller already wait for input (`asks.per_principal`); answer or abandon some of them first"
    )]
    Principal(u32),
    /// On this server.
    #[error(
        "{0} calls of this server already wait for input (`asks.per_server`, and `pool.max` for a program); try again later"
    )]
    Server(u32),
}

impl Parking {
    /// Nothing is parked yet.
    pub(crate) fn new() -> Result<Self, SealError> {
        Ok(Self {
            owner: random::<8>().map(u64::from_be_bytes)?,
            next: AtomicU64::new(1),
            places: Mutex::default(),
            expired: AtomicUsize::new(0),
        })
    }

    /// How many calls wait.
    pub(crate) fn waiting(&self) -> usize {
        self.places().len()
    }

    /// How many clients never came back.
    pub(crate) fn expired(&self) -> usize {
        self.expired.load(Relaxed)
    }

    /// A ticket for a place that is taken next. It belongs into its client's `requestState`.
    pub(crate) fn ticket(&self, nonce: [u8; 12]) -> Ticket {
        Ticket {
            owner: self.owner,
            place: self.next.fetch_add(1, Relaxed),
            nonce,
        }
    }

    /// Parks a call at the place of its ticket. One that had a place before, and was asked for again too early, has a right
    /// to another.
    ///
    /// # Errors
    /// If there is no room. The call is given back.
    pub(crate) fn park(
        gate: &Arc<Gate>,
        principal: &Principal,
        server: &Server,
        mut parked: Parked,
        ticket: Ticket,
    ) -> Result<(), Box<(Full, Parked)>> {
        let (claim, claimed) = oneshot::channel();
        {
            let mut places = gate.parking.places();
            let snapshot = gate.snapshot();
            let limits = &snapshot.config().asks;
            let had_a_place = parked.gather.state() == ParkedState::Parked;
            if !had_a_place && let Some(full) = full(&places, limits, principal, server) {
                return Err(Box::new((full, parked)));
            }
            if !had_a_place {
                parked.gather.on(ParkedEvent::Settled);
            }
            places.insert(
                ticket.place,
                Place {
                    nonce: ticket.nonce,
                    principal: principal.clone(),
                    server: Arc::clone(server.name()),
                    asks: parked.gather.asks(),
                    claim,
                },
            );
        }
        if let Some(events) = &mut parked.events {
            events.set_parked(true);
        }
        tokio::spawn(keep(Arc::clone(gate), ticket.place, parked, claimed));
        Ok(())
    }

    /// The key of an answer that is none to the question under it.
    pub(crate) fn misfit(&self, ticket: Ticket, answers: &Answers) -> Option<String> {
        let places = self.places();
        let place = places
            .get(&ticket.place)
            .filter(|place| place.nonce == ticket.nonce)?;
        let find = |key: &str| answers.iter().find(|(name, _)| name == key);
        let misfit =
            |(key, kind): &&(String, AskKind)| find(key).is_some_and(|(_, answer)| !kind.fits(answer));
        place.asks.iter().find(misfit).map(|(key, _)| key.clone())
    }

    /// Hands the call over to the retry that holds its ticket. Nobody gets it a second time.
    pub(crate) async fn claim(&self, ticket: Ticket) -> Result<Parked, Stale> {
        if ticket.owner != self.owner {
            return Err(Stale::Owner);
        }
        let place = {
            let mut places = self.places();
            let known = places
                .get(&ticket.place)
                .is_some_and(|place| place.nonce == ticket.nonce);
            if known { places.remove(&ticket.place) } else { None }
        };
        let place = place.ok_or(Stale::Used)?;
        let (sender, handed) = oneshot::channel();
        place.claim.send(sender).map_err(|_| Stale::Expired)?;
        // Its time may have come just now.
        let mut parked = handed.await.map_err(|_| Stale::Expired)?;
        if let Some(events) = &mut parked.events {
            events.set_parked(false);
        }
        Ok(parked)
    }

    fn places(&self) -> MutexGuard<'_, HashMap<u64, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bound that one more call would break. Each call that waits on a program keeps a process of it: never more of those
/// than may work at once, so that waiting calls leave the others their places.
fn full(places: &HashMap<u64, Place>, limits: &Asks, principal: &Principal, server: &Server) -> Option<Full> {
    let count = |of: &dyn Fn(&Place) -> bool| places.values().filter(|place| of(place)).count();
    let (mine, mut its) = (limits.per_principal.get(), limits.per_server.get());
    if matches!(server.config().kind, ServerKind::Command { .. }) {
        its = its.min(server.config().pool.max.get());
    }
    if count(&|place| place.principal == *principal) >= mine as usize {
        Some(Full::Principal(mine))
    } else if count(&|place| place.server == *server.name()) >= its as usize {
        Some(Full::Server(its))
    } else {
        None
    }
}

/// Keeps a parked call until its client returns, its time is over, or the gate stops.
async fn keep(
    gate: Arc<Gate>,
    place: u64,
    mut parked: Parked,
    mut claimed: oneshot::Receiver<oneshot::Sender<Parked>>,
) {
    let deadline = parked.gather.deadline.unwrap_or_else(Instant::now);
    let mut alive = interval_at(Instant::now() + ALIVE, ALIVE);
    let end = loop {
        tokio::select! {
            biased;
            claim = &mut claimed => match claim {
                Ok(handed) => {
                    if let Err(parked) = handed.send(parked) {
                        // The retry was given up while it took the call over.
                        parked.give_up().await;
                    }
                    return;
                }
                // The place was taken away without a claim: nobody can come any more.
                Err(_) => break ParkedEvent::Stopping,
            },
            // Out of the race: an answer that is half sent must not be given up for a claim.
            reply = parked.hear() => if let Some(reply) = reply {
                parked.reply(reply).await;
            },
            _ = alive.tick() => if let Some(events) = &parked.events {
                events.ping();
            },
            () = sleep_until(deadline) => break ParkedEvent::Expired,
            () = gate.until_stopping() => break ParkedEvent::Stopping,
        }
    };
    gate.parking.places().remove(&place);
    if end == ParkedEvent::Expired {
        gate.parking.expired.fetch_add(1, Relaxed);
        tracing::info!(target: "gatepost::call", "a call waited in vain for its client's answers, and was cancelled");
    }
    parked.gather.on(end);
    parked.give_up().await;
}

impl Parked {
    /// Tells the server that nobody will answer, and cancels the call.
    pub(crate) async fn give_up(mut self) {
        let replies = self.gather.dismiss();
        if let Some(mut events) = self.events.take() {
            events.reply_all(replies).await;
            // Dropped before its response, the stream cancels its call.
        }
    }

    /// Hears the server for a while, and gives what it is to be answered at once. Cancel safe.
    async fn hear(&mut self) -> Option<Bytes> {
        let Some(events) = &mut self.events else {
            return std::future::pending().await;
        };
        match events.next_whenever().await {
            // Nobody can be told of progress or a log line.
            Ok(Message::Notification(_)) => {}
            Ok(Message::Request(question)) => return self.gather.question(question),
            Ok(response @ Message::Response(_)) => {
                // They were asked of this call's client, and of nobody else.
                let dismissed = self.gather.dismiss();
                if let Some(events) = self.events.take() {
                    events.end_with(dismissed);
                }
                self.over(ParkedEvent::Responded, Ok(response));
            }
            Err(error) => self.over(ParkedEvent::Failed, Err(error)),
        }
        None
    }

    async fn reply(&mut self, reply: Bytes) {
        if let Some(events) = &mut self.events
            && let Err(error) = events.reply(reply).await
        {
            self.over(ParkedEvent::Failed, Err(error));
        }
    }

    fn over(&mut self, event: ParkedEvent, last: Result<Message, CallError>) {
        self.gather.on(event);
        // With the stream go the lease and the place among the calls in flight.
        self.events = None;
        self.last.get_or_insert(last);
    }
}
