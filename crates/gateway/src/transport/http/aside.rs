//! Events that are watched beside something busier.
//!
//! `select!` polls everything whenever anything wakes the task. A connection is woken several times for each request,
//! while its idle timer and the wish to stop stir every few seconds; polling those each time costs more than parsing the
//! request. [`Aside`] gives its stream a waker of its own and polls it only when that one was called.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_core::Stream;

/// A stream that is polled only when it has something to say.
pub(crate) struct Aside<S> {
    stream: Pin<Box<S>>,
    stirred: Arc<Stirred>,
    waker: Option<Waker>,
}

struct Stirred {
    flag: AtomicBool,
    task: Waker,
}

impl Wake for Stirred {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.flag.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<S: Stream> Aside<S> {
    /// Watches `stream`.
    pub(crate) fn new(stream: S) -> Self {
        let stirred = Arc::new(Stirred {
            flag: AtomicBool::new(true),
            task: Waker::noop().clone(),
        });
        Self {
            stream: Box::pin(stream),
            stirred,
            waker: None,
        }
    }

    /// Polls the stream if it stirred since the last time. Must always be polled by the same task, as a connection is.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let waker = self.waker.get_or_insert_with(|| {
            self.stirred = Arc::new(Stirred {
                flag: AtomicBool::new(true),
                task: cx.waker().clone(),
            });
            Waker::from(Arc::clone(&self.stirred))
        });
        if !self.stirred.flag.load(Ordering::Relaxed) || !self.stirred.flag.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        let polled = self.stream.as_mut().poll_next(&mut Context::from_waker(waker));
        if polled.is_ready() {
            // There may be more at once; only `Pending` has left our waker behind.
            self.stirred.flag.store(true, Ordering::Relaxed);
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering::Relaxed},
        task::Context,
    };

    use futures_util::stream;
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn it_is_polled_once_and_then_only_when_it_stirs() {
        let (sender, receiver) = oneshot::channel::<()>();
        let polls = Arc::new(AtomicU32::new(0));
        let counted = {
            let polls = Arc::clone(&polls);
            let mut receiver = receiver;
            stream::poll_fn(move |cx| {
                polls.fetch_add(1, Relaxed);
                Pin::new(&mut receiver).poll(cx).map(Some)
            })
        };
        let mut aside = Aside::new(counted);
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..3 {
            assert!(aside.poll_next(cx).is_pending());
        }
        assert_eq!(polls.load(Relaxed), 1);
        sender.send(()).unwrap();
        assert!(aside.poll_next(cx).is_ready());
        assert_eq!(polls.load(Relaxed), 2);
    }
}
