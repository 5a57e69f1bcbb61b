//! Shutdown and kill.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use qemu_qmp_engine::{Span, operation};

use super::{Machine, ShutdownError};
use crate::life::{ExitReport, Ladder, Rung};
use crate::supervise::Request;

impl Machine {
    /// Ends the machine: asks QEMU first, and kills it if that fails. If the
    /// machine has ended, it returns the report.
    pub fn shutdown(&self) -> Shutdown {
        Shutdown {
            machine: self.clone(),
            guest: None,
            quit: self.inner.quit_timeout,
            terminate: self.inner.terminate_timeout,
        }
    }

    /// Kills the machine. Data that was not yet written to its disks is lost.
    pub fn kill(&self) -> Kill {
        Kill {
            machine: self.clone(),
        }
    }

    /// Ends the machine by this ladder, and waits for the end.
    async fn end(&self, ladder: Ladder) -> Result<Arc<ExitReport>, ShutdownError> {
        let inner = &self.inner;
        inner.request(Request::End(ladder));
        let span = Span::end(|| inner.name.clone());
        let settled = span.around(inner.settled()).await;
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
/// It tries these rungs in order, each with its own timeout: `quit` on the
/// monitor for 20 s, SIGTERM for 5 s, SIGKILL. The builder can set other
/// timeouts. Options add a rung before these, or change the timeouts. If
/// another caller is already ending the machine, and as hard, this call joins
/// that end.
///
/// # Errors
/// [`ShutdownError::Forced`] if the softer rungs were tried and failed.
/// [`ShutdownError::Failed`] if QEMU failed by itself, before or during the
/// shutdown. The machine has ended in both cases. [`ShutdownError::Unkillable`]
/// if it has not.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the machine still ends.
#[derive(Debug, Clone)]
#[must_use = "nothing is ended until awaited or waited for"]
pub struct Shutdown {
    machine: Machine,
    /// The rung of the guest before the others, and its timeout.
    guest: Option<(Rung, Option<Duration>)>,
    quit: Option<Duration>,
    terminate: Duration,
}

impl Shutdown {
    /// First waits up to `limit` for the guest to power off by itself. Sends
    /// nothing during that time.
    pub fn after_guest(mut self, limit: Duration) -> Self {
        self.guest = Some((Rung::Guest, Some(limit)));
        self
    }

    /// First presses the power button of the guest (`system_powerdown`), and
    /// waits up to `limit` for the guest to power off.
    pub fn powerdown(mut self, limit: Duration) -> Self {
        self.guest = Some((Rung::Powerdown, Some(limit)));
        self
    }

    /// Sets how long to wait after `quit`, instead of 20 s. `None` waits until
    /// QEMU exits. A kill does not wait for it.
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
/// [`ShutdownError::Failed`] if QEMU had already failed.
/// [`ShutdownError::Unkillable`] if the process has not ended 60 s after the
/// kill.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the machine is still killed.
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
