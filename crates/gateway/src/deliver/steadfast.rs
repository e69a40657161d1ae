//! A call that goes on when its client goes away.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::{StreamExt, future::BoxFuture};

use crate::{answer::Answer, inbound::Cancellation, refusal::Refusal};

/// Drives a call; when dropped before its end, hands it to a task of its own, unless the client cancelled it.
pub(super) struct Steadfast {
    pub(super) call: Option<BoxFuture<'static, Result<Answer, Refusal>>>,
    pub(super) cancellation: Arc<Cancellation>,
}

impl Future for Steadfast {
    type Output = Result<Answer, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(call) = &mut self.call else {
            return Poll::Pending;
        };
        let polled = call.as_mut().poll(cx);
        if polled.is_ready() {
            self.call = None;
        }
        polled
    }
}

impl Drop for Steadfast {
    fn drop(&mut self) {
        let Some(call) = self.call.take() else { return };
        if self.cancellation.is_cancelled() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // Nobody hears the answer; the server is to finish all the same.
                match call.await {
                    Ok(Answer::Messages(mut messages) | Answer::Resumable(_, mut messages)) => {
                        while messages.next().await.is_some() {}
                    }
                    Ok(Answer::Chunks(mut chunks)) => while let Some(Ok(_)) = chunks.next().await {},
                    _ => {}
                }
            });
        }
    }
}
