//! Waits until a machine ends by itself.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use qemu_qmp::supervise::PeerContext;
use qemu_qmp_engine::{Elapsed, operation, timeout_option};

use super::{ExitError, Machine};
use crate::life::{ExitReport, PausedForGood};

impl Machine {
    /// Waits until the machine ends by itself. Sends nothing. To kill a guest
    /// that does not power off in time, see
    /// [`Shutdown::after_guest`](super::Shutdown::after_guest).
    pub fn wait_for_exit(&self) -> WaitForExit {
        WaitForExit {
            machine: self.clone(),
            timeout: self.inner.deadlines.limit(),
        }
    }
}

/// Waits until a machine ends by itself; made by [`Machine::wait_for_exit`].
///
/// # Errors
/// [`ExitError::Timeout`] at the deadline. [`ExitError::GuestPanicked`] or
/// [`ExitError::GuestShutDown`] at once, if QEMU keeps such a guest paused. The
/// machine still runs.
///
/// # Cancel safety
/// Safe: it has no side effects.
#[derive(Debug, Clone)]
#[must_use = "nothing is waited for until awaited or waited for"]
pub struct WaitForExit {
    pub(super) machine: Machine,
    pub(super) timeout: Option<Duration>,
}

timeout_option!(WaitForExit, timeout);

operation!(WaitForExit => Result<Arc<ExitReport>, ExitError>);

impl WaitForExit {
    pub(super) async fn run(self) -> Result<Arc<ExitReport>, ExitError> {
        let Self { machine, timeout } = self;
        let inner = &machine.inner;
        let name = || inner.name.clone();
        let seen = || machine.console.context().seen();
        let outcome = inner.deadlines.timeout(timeout, inner.ended_or_paused());
        match outcome.await {
            Ok(Ok(report)) => {
                inner.is_reported.store(true, Ordering::Relaxed);
                Ok(report)
            }
            Ok(Err(PausedForGood::Panicked)) => Err(ExitError::GuestPanicked {
                name: name(),
                seen: seen(),
            }),
            Ok(Err(PausedForGood::ShutDown { reason })) => Err(ExitError::GuestShutDown {
                name: name(),
                reason,
                seen: seen(),
            }),
            Err(Elapsed(limit)) => Err(ExitError::Timeout {
                name: name(),
                limit,
                seen: seen(),
            }),
        }
    }
}
