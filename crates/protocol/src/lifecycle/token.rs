//! A legacy client's session at the gate: the sealed token that it shows as `Mcp-Session-Id` (`docs/eras.md` 4).
//!
//! The token holds what never changes, so most sessions live with their client and cost the gate nothing. Presented by
//! another principal or on another endpoint it opens nothing, and that changes nothing: it is no event of its life.

super::lifecycle! {
    /// Where a legacy client's session stands.
    states TokenState {
        /// It is in its token alone: the gate holds nothing, and any gate that has the key can serve it.
        Sealed,
        /// The gate holds what it has changed: a log level, subscriptions, the open GET stream.
        Held,
        /// Its client has ended it. The token opens nothing, here and after a restart.
        Ended,
        /// Its time is over. The token opens nothing.
        Expired,
    }
    begins Sealed;
    ends Ended, Expired;

    /// What happens to such a session.
    events TokenEvent {
        /// `logging/setLevel`, `resources/subscribe`, or a GET stream opens.
        Changed,
        /// Everything is as it began: nothing subscribed, no stream, no level set.
        Restored,
        /// The gate stops and starts again.
        Restarted,
        /// `DELETE` with the token.
        Deleted,
        /// The time that the token was made for is over.
        Lapsed,
    }

    rows {
        Sealed + Changed => Held: "An id can be set only once, so what changes is kept under its nonce (eras.md 4)";
        Sealed + Restarted => Sealed: "The key outlives the process (eras.md 4)";
        Sealed + Deleted => Ended: "Its end is noted until the token would have expired; afterwards 404 (eras.md 4)";
        Sealed + Lapsed => Expired: "404: the client initializes again (L:basic/transports#Session Management)";

        Held + Changed => Held: "One more thing to hold; a second GET stream takes the place of the first";
        Held + Restored => Sealed: "What is as it began is not kept";
        Held + Restarted => Sealed: "The token still opens; level and subscriptions are the client's to set again";
        Held + Deleted => Ended: "Its calls are cancelled, its streams end; afterwards 404 (eras.md 4)";
        Held + Lapsed => Expired: "404: the client initializes again (L:basic/transports#Session Management)";
    }
}
