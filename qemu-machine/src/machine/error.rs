//! Why a machine did not end, or not as asked.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::life::ExitReport;
use qemu_qmp::error::ErrorKind;

/// A machine did not end as asked, or has not ended.
#[derive(Clone)]
#[non_exhaustive]
pub enum ShutdownError {
    /// The softer rungs failed, so the machine was killed. Data that was not
    /// yet written to its disks is lost.
    Forced(Arc<ExitReport>),
    /// QEMU was killed by a signal, or exited with a code other than 0, and
    /// nobody asked for it.
    Failed(Arc<ExitReport>),
    /// The process was killed, but is blocked in the kernel and has not ended.
    /// This process waits for it in the background.
    Unkillable {
        /// The machine's name.
        name: String,
        /// Its process id.
        pid: u32,
    },
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forced(report) => write!(
                f,
                "the machine did not stop in time and was killed: {report}"
            ),
            Self::Failed(report) => write!(f, "QEMU failed: {report}"),
            Self::Unkillable { name, pid } => write!(
                f,
                "machine '{name}': process {pid} was killed but has not ended: it is blocked in \
                 the kernel"
            ),
        }
    }
}

impl StdError for ShutdownError {}

impl ShutdownError {
    /// What kind of failure it is: always [`ErrorKind::Unclean`].
    pub fn kind(&self) -> ErrorKind {
        ErrorKind::Unclean
    }

    /// How the machine ended; `None` if it has not.
    pub fn report(&self) -> Option<&Arc<ExitReport>> {
        match self {
            Self::Forced(report) | Self::Failed(report) => Some(report),
            Self::Unkillable { .. } => None,
        }
    }
}

/// A machine did not end by itself.
#[derive(Clone)]
#[non_exhaustive]
pub enum ExitError {
    /// It still runs at the deadline.
    Timeout {
        /// The machine's name.
        name: String,
        /// The deadline.
        limit: Duration,
        /// The last output of QEMU and the console, in separate lines.
        seen: String,
    },
    /// The guest panicked, and QEMU paused it (`-action panic=pause`). The
    /// machine will not end by itself.
    GuestPanicked {
        /// The machine's name.
        name: String,
        /// The last output of QEMU and the console, in separate lines.
        seen: String,
    },
    /// The guest shut down, and QEMU paused it (`-no-shutdown`). The machine
    /// will not end by itself.
    GuestShutDown {
        /// The machine's name.
        name: String,
        /// QEMU's reason: `guest-shutdown`.
        reason: String,
        /// The last output of QEMU and the console, in separate lines.
        seen: String,
    },
}

impl fmt::Display for ExitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { name, limit, seen } => {
                write!(f, "machine '{name}': did not end within {limit:?}{seen}")
            }
            // `seen` starts with the state of the guest.
            Self::GuestPanicked { name, seen } | Self::GuestShutDown { name, seen, .. } => {
                write!(f, "machine '{name}': will not end by itself{seen}")
            }
        }
    }
}

impl StdError for ExitError {}

impl ExitError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::GuestPanicked { .. } | Self::GuestShutDown { .. } => ErrorKind::Guest,
        }
    }
}
