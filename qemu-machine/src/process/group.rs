//! Waiting until nothing of a process group is left.
//!
//! A process that was sent SIGKILL lives on until it has a turn, and the kernel
//! needs time to free its memory. Its parent may be any process, so nobody here
//! can reap it. But its end can be waited for.
//!
//! Only waits, never kills: by now the group's id could belong to others.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use qemu_qmp_engine as engine;

use super::survivors::members;
use crate::sys;

/// How long the rest of a group may take to end.
const LIMIT: Duration = Duration::from_secs(10);

/// Waits, on the engine, until the group of this leader is gone. The leader was
/// reaped, and the group was sent SIGKILL.
pub(super) async fn gone(leader: u32) {
    let deadline = Instant::now() + LIMIT;
    while let Some(rest) = rest(leader, deadline) {
        for pidfd in rest {
            let limit = deadline.saturating_duration_since(Instant::now());
            // If it cannot be watched, the next look decides.
            let _ = engine::timeout(Some(limit), engine::readable(pidfd.as_fd())).await;
        }
    }
}

/// The same on any thread, until the deadline.
pub(super) fn gone_by(leader: u32, deadline: Instant) {
    while let Some(rest) = rest(leader, deadline) {
        for pidfd in rest {
            sys::ends_within(&pidfd, deadline.saturating_duration_since(Instant::now()));
        }
    }
}

/// The members that have not ended; `None` if there are none, or no time is left.
fn rest(leader: u32, deadline: Instant) -> Option<Vec<OwnedFd>> {
    if !sys::group_exists(leader) || Instant::now() >= deadline {
        return None;
    }
    let open = |pid| sys::open_process(pid).ok();
    let members: Vec<OwnedFd> = members(leader).into_iter().filter_map(open).collect();
    (!members.is_empty()).then_some(members)
}
