//! Ending a machine: softly, or by force.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use qemu_qmp_engine::operation;

use super::{Machine, ShutdownError};
use crate::life::{ExitReport, Ladder, Rung};
use crate::supervise::Request;

impl Machine {
    /// Ends the machine: asks QEMU first, and kills it if that fails. A machine
    /// that has ended already is left as it is.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown {
            machine: self.clone(),
            guest: None,
            quit: self.inner.quit_timeout,
            terminate: self.inner.terminate_timeout,
        }
    }

    /// Kills the machine. What it had not written to its disks yet is lost.
    pub fn kill(&self) -> Kill {
        Kill {
            machine: self.clone(),
        }
    }

    /// Ends the machine by these rungs, and waits for its end.
    async fn end(&self, ladder: Ladder) -> Result<Arc<ExitReport>, ShutdownError> {
        let inner = &self.inner;
        inner.request(Request::End(ladder));
        let settled = inner.settled().await;
        inner.is_reported.store(true, Ordering::Relaxed);
        match settled {
            Some(report) if report.was_forced() => Err(ShutdownError::Forced(report)),
            Some(report) if report.is_failure() => Err(ShutdownError::Failed(report)),
            Some(report) => Ok(report),
            None => Err(ShutdownError::Unkillable {
                name: inner.name.clone(),
                pid: inner.pid,
            }),
        }
    }
}

/// Ends a machine; made by [`Machine::shutdown`].
///
/// It climbs rungs, each with its own time: `quit` on the monitor for 20 s,
/// SIGTERM for 5 s, SIGKILL. The builder may have set other times. Options put
/// a rung before these, or change the times. An end that is under way already,
/// and is as hard, is joined.
///
/// # Errors
/// [`ShutdownError::Forced`] if softer rungs were asked for and failed,
/// [`ShutdownError::Failed`] if QEMU died by itself, before or meanwhile.
/// The machine has ended in both cases.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the machine is ended all the
/// same.
#[derive(Debug, Clone)]
#[must_use = "nothing is ended until awaited or waited for"]
pub struct Shutdown {
    machine: Machine,
    /// The guest's rung before the others, and its time.
    guest: Option<(Rung, Option<Duration>)>,
    quit: Option<Duration>,
    terminate: Duration,
}

impl Shutdown {
    /// First waits up to `limit` for the guest to power itself off. Sends
    /// nothing meanwhile.
    pub fn after_guest(mut self, limit: Duration) -> Self {
        self.guest = Some((Rung::Guest, Some(limit)));
        self
    }

    /// First presses the guest's power button, and waits up to `limit` for the
    /// guest to power off.
    pub fn powerdown(mut self, limit: Duration) -> Self {
        self.guest = Some((Rung::Powerdown, Some(limit)));
        self
    }

    /// Sets how long to wait after `quit`, instead of 20 s. `None` waits until
    /// QEMU exits. A kill meanwhile does not wait for it.
    pub fn quit_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.quit = limit.into();
        self
    }

    /// Sets how long to wait after SIGTERM, instead of 5 s.
    pub fn terminate_timeout(mut self, limit: Duration) -> Self {
        self.terminate = limit;
        self
    }
}

operation!(Shutdown => Result<Arc<ExitReport>, ShutdownError>);

impl Shutdown {
    async fn run(self) -> Result<Arc<ExitReport>, ShutdownError> {
        let rungs = [
            (Rung::Quit, self.quit),
            (Rung::Terminate, Some(self.terminate)),
        ];
        let ladder = Ladder::new(self.guest.into_iter().chain(rungs));
        self.machine.end(ladder).await
    }
}

/// Kills a machine; made by [`Machine::kill`].
///
/// # Errors
/// [`ShutdownError::Failed`] if QEMU had died by itself before.
/// [`ShutdownError::Unkillable`] if the kernel does not end it within 10 s.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the machine is killed all the
/// same.
#[derive(Debug, Clone)]
#[must_use = "nothing is killed until awaited or waited for"]
pub struct Kill {
    machine: Machine,
}

operation!(Kill => Result<Arc<ExitReport>, ShutdownError>);

impl Kill {
    async fn run(self) -> Result<Arc<ExitReport>, ShutdownError> {
        self.machine.end(Ladder::kill()).await
    }
}
