//! A session that the gate holds on a legacy server, and how it heals (`docs/eras.md` 4).
//!
//! The life is that of a place in a server's pool: one process, old SSE stream or HTTP session after another, opened with
//! the same capabilities for the same clients. Healing is finding the place empty and filling it again.

super::lifecycle! {
    /// Where a session on a legacy server stands.
    states SessionState {
        /// Nothing is held: no call has needed it yet, or it was let go.
        Unopened,
        /// A process starts or a connection is made, and `initialize` is on its way. Calls that need it wait.
        Opening,
        /// The server has answered `initialize` and was told `initialized`. It takes calls.
        Open,
        /// What was open is gone, and it was not the gate that let it go. Nothing is done about it before a call needs it.
        Lost,
        /// It is opened once more, quietly: the clients see a call that takes longer.
        Reopening,
        /// It cannot be had now. Calls got an error that says why.
        Failed,
        /// It is over for good.
        Ended,
    }
    begins Unopened;
    ends Ended;

    /// What happens to such a session.
    events SessionEvent {
        /// A call needs it.
        Needed,
        /// The handshake is done: `initialize` was answered in a version that the gate speaks.
        Greeted,
        /// The handshake failed: not reached, refused, nonsense, or silence for `start_timeout`.
        Refused,
        /// The server says that it does not know the session (HTTP 404): it did nothing with the call.
        Forgotten,
        /// The process ended, or the connection that is the session dropped.
        Died,
        /// A call that was sent again because the session was lost has met the same once more.
        RepeatFailed,
        /// No call has used it for `pool.idle`, or its place in the pool is wanted for others.
        Idle,
        /// A call was given up that may still be running on it, so nobody else can have it.
        Discarded,
        /// It was one client's own (`isolation: session`), and what it held went with it.
        Surrendered,
        /// The gate stops, or the server is no longer configured.
        Stopping,
    }

    rows {
        Unopened + Needed => Opening: "Sessions begin on demand, one start however many wait (L:basic/lifecycle#Initialization)";
        Unopened + Stopping => Ended: "There is nothing to end";

        Opening + Greeted => Open: "`initialized` goes up before anything else (L:basic/lifecycle#Initialization)";
        Opening + Refused => Failed: "Every call that waited gets the reason; the verdict on the server's era is dropped (eras.md 1.2)";
        Opening + Died => Failed: "Every call that waited gets the reason; nothing was sent, so all may be repeated (eras.md 9)";
        Opening + Stopping => Ended: "What still starts is ended as soon as it has";

        Open + Forgotten => Lost: "The server has lost it and processed nothing (eras.md 4; L:basic/transports#Session Management)";
        Open + Died => Lost: "A call that was not sent yet, or that only reads, is repeated; any other gets an honest error (eras.md 4)";
        Open + RepeatFailed => Failed: "Once: a server that forgets twice in a row would be asked for ever (eras.md 4)";
        Open + Idle => Unopened: "The process is ended, the HTTP session deleted; the next call opens another (L:basic/transports#Session Management)";
        Open + Discarded => Unopened: "Ended instead of given back: its next user would get another's messages (eras.md 5.2, 10)";
        Open + Stopping => Ended: "Processes are ended, HTTP sessions deleted; calls in flight fail";

        Lost + Needed => Reopening: "For the call that met the loss, if it may be repeated, or else for the next (eras.md 4)";
        Lost + Surrendered => Ended: "Healing is visible where state is: its client gets a 404 and starts anew (eras.md 4)";
        Lost + Stopping => Ended: "There is nothing to end";

        Reopening + Greeted => Open: "Log level and subscriptions are set again, and the call is sent again (eras.md 4)";
        Reopening + Refused => Failed: "The call gets the reason; the verdict on the server's era is dropped (eras.md 1.2)";
        Reopening + Died => Failed: "Not started a third time for the same call (eras.md 4)";
        Reopening + Stopping => Ended: "What still starts is ended as soon as it has";

        Failed + Needed => Opening: "The next call tries anew; a program that keeps dying is held back (eras.md 1.2)";
        Failed + Stopping => Ended: "There is nothing to end";
    }
}
