//! A call of a modern client to a legacy server that asks (`docs/eras.md` 5.2).
//!
//! A legacy server asks with a request of its own and waits for the answer, with the call open. A modern client is asked by
//! the *result* of its call, `input_required`, and answers by calling again. In between nobody waits at the gate's door,
//! while behind it the server's call stays open: it is parked.

super::lifecycle! {
    /// Where a call that a legacy server may ask about stands.
    states ParkedState {
        /// The server works; a request of the client waits for what comes: the first one, or the retry that brought the
        /// last answers.
        Calling,
        /// The server has asked. The gate waits a moment for more, so that what was asked together is put together.
        Settling,
        /// The client was told `input_required`. No request of its waits; the server's call stays open.
        Parked,
        /// The server's answer, or its end, came before the client's. It waits for the retry.
        Answered,
        /// The client has what became of its call: the server's response, or the error that it failed with.
        Done,
        /// The client did not come back in time. A late retry is told to call again, never run a second time.
        Expired,
        /// The call was given up: nobody wants its result any more, or there was no room to park it.
        Abandoned,
    }
    begins Calling;
    ends Done, Expired, Abandoned;

    /// What happens to such a call.
    events ParkedEvent {
        /// The server asks: elicitation, sampling or roots, of a kind that the client declared.
        Asked,
        /// For a moment nothing more was asked.
        Settled,
        /// There is no room for another parked call, of this principal or of this server.
        NoRoom,
        /// The client came back, but an ask is still open: its answer was missing, or it was asked meanwhile.
        RetriedInPart,
        /// The client came back and no ask is open any more.
        RetriedInFull,
        /// The server answered the call, with a result or an error.
        Responded,
        /// The server will not answer: its process, its connection or its session is gone, or it was silent too long.
        Failed,
        /// The deadline of a parked call has passed.
        Expired,
        /// The client closed the stream of its waiting request, or sent `notifications/cancelled`.
        Cancelled,
        /// The gate stops.
        Stopping,
    }

    rows {
        Calling + Asked => Settling: "A later ask is simply the next round (eras.md 5.2, 4)";
        Calling + Responded => Done: "The response goes to the request that waits, under its own id and in its era's form (eras.md 5.2, 7)";
        Calling + Failed => Done: "The client gets -32603 with the cause and whether it may call again (eras.md 9)";
        Calling + Cancelled => Abandoned: "Closing is cancelling: the server gets `notifications/cancelled` (eras.md 6)";
        Calling + Stopping => Abandoned: "The server gets `notifications/cancelled`, the client an error (eras.md 5.2, 11)";

        Settling + Asked => Settling: "It joins the round, and the moment begins anew (eras.md 5.2, 4)";
        Settling + Settled => Parked: "The client gets `input_required` with every ask of the round and a `requestState` that opens once (eras.md 5.2, 5)";
        Settling + NoRoom => Abandoned: "The client gets -32603, the asks are cancelled and so is the call (eras.md 5.2, 6)";
        Settling + Responded => Done: "A final result goes first; what was asked is moot (eras.md 5.2, 9)";
        Settling + Failed => Done: "The client gets -32603 with the cause; there is nobody left to answer (eras.md 9)";
        Settling + Cancelled => Abandoned: "Asks are answered as if dismissed, and the call is cancelled (eras.md 6)";
        Settling + Stopping => Abandoned: "Asks are answered as if dismissed, and the call is cancelled (eras.md 5.2, 11)";

        Parked + Asked => Parked: "Nobody can be told now: it waits for the next round (eras.md 5.2, 4)";
        Parked + RetriedInPart => Parked: "The answers that are here go up; the client gets `input_required` for the rest, with a new `requestState` (eras.md 5.2, 7)";
        Parked + RetriedInFull => Calling: "The answers go up, and the retry waits as the first request did (eras.md 5.2, 7)";
        Parked + Responded => Answered: "No request waits that could take it (eras.md 5.2, 9)";
        Parked + Failed => Answered: "The retry must hear that the call failed: \"call again\" would hide that it may have run (eras.md 4)";
        Parked + Expired => Expired: "Elicitations are answered `cancel`, sampling and roots -32603, and the call is cancelled (eras.md 5.2, 10)";
        Parked + Stopping => Abandoned: "The owner of a parked call cannot leave it to another; a retry gets -32602 (eras.md 5.2, 11)";

        Answered + RetriedInPart => Done: "The result is there; what was not answered is moot (eras.md 5.2, 9)";
        Answered + RetriedInFull => Done: "The result is there; the answers come too late to matter (eras.md 5.2, 9)";
        Answered + Expired => Expired: "Nobody came for the result (eras.md 5.2, 10)";
        Answered + Stopping => Abandoned: "What waits here is in memory only; a retry gets -32602 (eras.md 5.2, 11)";
    }
}
