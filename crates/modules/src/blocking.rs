//! File and database work, away from the threads that serve everybody.

use gatepost::rmcp::ErrorData;

/// Runs `work` where it may block. A panic in it goes on in the caller, where the host turns it into an answer.
///
/// # Errors
///
/// Only while the process shuts down, when nothing new is started.
pub(crate) async fn blocking<T, W>(work: W) -> Result<T, ErrorData>
where
    T: Send + 'static,
    W: FnOnce() -> T + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ErrorData::internal_error(
                "the gate is shutting down; call again when it is back",
                None,
            )),
        },
    }
}
