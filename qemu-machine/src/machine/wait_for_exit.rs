//! Waiting for a machine's own end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use qemu_qmp::supervise::PeerContext;
use qemu_qmp_engine::{Elapsed, operation, timeout_option};

use super::{ExitError, Machine};
use crate::life::{ExitReport, PausedForGood};

impl Machine {
    /// Waits until the machine ends by itself. Sends nothing. For a guest that
    /// must power off in time or be killed, see
    /// [`Shutdown::after_guest`](super::Shutdown::after_guest).
    pub fn wait_for_exit(&self) -> WaitForExit {
        WaitForExit {
            machine: self.clone(),
            timeout: self.inner.deadlines.limit(),
        }
    }
}

/// Waits for a machine's own end; made by [`Machine::wait_for_exit`].
///
/// # Errors
/// [`ExitError::Timeout`]; or at once [`ExitError::GuestPanicked`] or
/// [`ExitError::GuestShutDown`], where QEMU holds such a guest. The machine
/// lives on.
///
/// # Cancel safety
/// Nothing depends on it.
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
