//! How tasks wait for their records: to be in the file, which one of them writes for all, or on the disk.

use std::{
    future::poll_fn,
    task::{Poll, Waker},
};

use super::{Engine, Mark, trouble::Unwritten};

impl Engine {
    /// Returns when a record is in the file, together with those of everybody who is ready now.
    async fn in_file(&self, mark: Mark) -> Result<(), Unwritten> {
        loop {
            let turn = poll_fn(|cx| {
                let mut state = self.lock();
                if let Some(done) = state.verdict(mark, state.written) {
                    return Poll::Ready(Err(done));
                }
                // Whoever is at it wakes all who have joined when it is done.
                if state.gathering || state.writing {
                    state.joined.push(cx.waker().clone());
                    return Poll::Pending;
                }
                state.gathering = true;
                // It writes when it is dropped: also if nobody waits for this any more, those who joined do.
                Poll::Ready(Ok(Group(self)))
            });
            match turn.await {
                Err(done) => return done,
                Ok(group) => {
                    tokio::task::yield_now().await;
                    drop(group);
                }
            }
        }
    }

    /// Returns when a record is in the file.
    pub(crate) async fn survives(&self, mark: Mark) -> Result<(), Unwritten> {
        if mark.seq == 0 {
            return Ok(());
        }
        match self.in_file(mark).await {
            Err(error) => self.lose(0, error).map(drop),
            Ok(()) => Ok(()),
        }
    }

    /// Returns when a record is as durable as the configuration asks for.
    pub(crate) async fn durable(&self, mark: Mark) -> Result<(), Unwritten> {
        if mark.seq == 0 {
            return Ok(());
        }
        let mut done = self.in_file(mark).await;
        if done.is_ok() && self.is_sync() {
            // Boxed, so that who only ever runs `batch` does not carry it in every future.
            done = Box::pin(self.synced(mark)).await;
        }
        match done {
            Err(error) => self.lose(0, error).map(drop),
            Ok(()) => Ok(()),
        }
    }

    async fn synced(&self, mark: Mark) -> Result<(), Unwritten> {
        let mut changes = self.durable.subscribe();
        let mut joined = false;
        loop {
            {
                let mut state = self.lock();
                if let Some(done) = state.verdict(mark, state.durable) {
                    return done;
                }
                if !joined {
                    joined = true;
                    state.joining += 1;
                    if state.idle && state.joining >= state.expected {
                        self.work.notify_one();
                    }
                }
            }
            if changes.changed().await.is_err() {
                return Err(Unwritten {
                    reason: "it was closed".into(),
                });
            }
        }
    }
}

/// Those who wait together for one write.
struct Group<'a>(&'a Engine);

impl Drop for Group<'_> {
    fn drop(&mut self) {
        self.0.lock().gathering = false;
        self.0.flush(None);
        // Those who joined while there was nothing to write, or could not be.
        let joined = std::mem::take(&mut self.0.lock().joined);
        joined.into_iter().for_each(Waker::wake);
    }
}
