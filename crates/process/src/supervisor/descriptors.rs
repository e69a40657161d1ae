//! Nothing but descriptors 0, 1 and 2 reaches a server.
//!
//! What the gate opens itself is close-on-exec from birth. What the gate was *started* with is not: a socket from
//! systemd, a pipe that a shell, an editor or a CI runner forgot to close. It would pass through the supervisor.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// Marks every descriptor from 3 on close-on-exec. Without `/proc` or `/dev/fd` this does nothing; then whatever the
/// gate's own starter leaked is leaked further.
pub(super) fn keep_from_the_server() {
    let folder = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let open = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    for raw in open.filter(|raw| *raw > 2) {
        #[expect(
            unsafe_code,
            reason = "there is no safe way to name a descriptor that was inherited"
        )]
        // SAFETY: the descriptor was listed as open an instant ago, and the supervisor has a single thread, which
        // closes none while it is in this loop. It is borrowed for this call only.
        let descriptor = unsafe { BorrowedFd::borrow_raw(raw) };
        fcntl_setfd(descriptor, FdFlags::CLOEXEC).ok();
    }
}
