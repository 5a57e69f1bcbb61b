//! What can go wrong at the end of a machine.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::life::ExitReport;

/// A machine ended otherwise than it was asked to, or not at all.
#[derive(Clone)]
#[non_exhaustive]
pub enum ShutdownError {
    /// Softer means had failed, so it was killed. What it had not written to
    /// its disks yet is lost.
    Forced(Arc<ExitReport>),
    /// QEMU died by a signal, or exited with a code that is not 0, without
    /// being asked to.
    Failed(Arc<ExitReport>),
    /// It was killed, but waits in the kernel and has not ended yet. It is
    /// waited for in the background.
    Unkillable {
        /// The machine's name.
        name: String,
        /// Its process.
        pid: u32,
    },
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forced(report) => write!(f, "the machine had to be killed: {report}"),
            Self::Failed(report) => write!(f, "QEMU failed: {report}"),
            Self::Unkillable { name, pid } => write!(
                f,
                "machine '{name}' (pid {pid}) was killed but has not ended: it waits in the \
                 kernel"
            ),
        }
    }
}

impl StdError for ShutdownError {}

impl ShutdownError {
    /// How the machine ended; `None` where it has not.
    pub fn report(&self) -> Option<&Arc<ExitReport>> {
        match self {
            Self::Forced(report) | Self::Failed(report) => Some(report),
            Self::Unkillable { .. } => None,
        }
    }
}

/// A machine has not ended by itself.
#[derive(Clone)]
#[non_exhaustive]
pub enum ExitError {
    /// It lives on after the deadline.
    Timeout {
        /// The machine's name.
        name: String,
        /// The deadline.
        limit: Duration,
        /// What QEMU and the console said last, in lines of their own.
        seen: String,
    },
    /// The guest has panicked, and QEMU holds it, as it was told to
    /// (`-action panic=pause`). It will not end by itself.
    GuestPanicked {
        /// The machine's name.
        name: String,
        /// What QEMU and the console said last, in lines of their own.
        seen: String,
    },
    /// The guest has shut down, and QEMU holds it, as it was told to
    /// (`-no-shutdown`). It will not end by itself.
    GuestShutDown {
        /// The machine's name.
        name: String,
        /// QEMU's reason: `guest-shutdown`.
        reason: String,
        /// What QEMU and the console said last, in lines of their own.
        seen: String,
    },
}

impl fmt::Display for ExitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { name, limit, seen } => {
                write!(f, "machine '{name}' has not ended within {limit:?}{seen}")
            }
            // The guest is in what was seen.
            Self::GuestPanicked { name, seen } | Self::GuestShutDown { name, seen, .. } => {
                write!(f, "machine '{name}' does not end by itself{seen}")
            }
        }
    }
}

impl StdError for ExitError {}
