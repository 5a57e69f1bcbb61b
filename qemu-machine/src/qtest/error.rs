//! What can go wrong on a qtest channel.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use super::QtestProtocolError;
use crate::report::ExitReport;

/// A command on a qtest channel did not bring what was asked for.
#[derive(Debug, Clone, Error)]
#[error("{server}: qtest command '{command}' {failure}{seen}")]
#[non_exhaustive]
pub struct QtestError {
    /// Whom it was for, such as `machine 'qemu-1'`.
    pub server: String,
    /// The command, without the data that it was to write.
    pub command: String,
    /// What went wrong.
    pub failure: Box<QtestFailure>,
    /// What QEMU and the console said last, in lines of their own; empty where
    /// it would not help.
    pub seen: String,
}

/// Why a command on a qtest channel did not bring what was asked for.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum QtestFailure {
    /// QEMU refused it.
    #[error("failed: {words}")]
    Refused {
        /// What QEMU says.
        words: String,
    },
    /// The clock is not the caller's. Nothing was sent.
    #[error(
        "needs QEMU's accelerator 'qtest', which alone lets the clock be set: this QEMU could not \
         start with it, as its binary was built without it or lacks the module, and runs on TCG"
    )]
    NeedsAccelerator,
    /// It has an argument that cannot be sent. Nothing was sent.
    #[error("cannot be sent: {reason}")]
    Argument {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No reply came in time. The command may be carried out still; its reply
    /// will be dropped.
    #[error("had no reply within {limit:?}")]
    Timeout {
        /// The deadline.
        limit: Duration,
    },
    /// The reply came, but not in the form that such a command has.
    #[error("had a reply of another form: '{reply}'")]
    Unexpected {
        /// How it begins.
        reply: String,
    },
    /// QEMU has not read its channel for long, and much waits to be sent.
    #[error("was not sent: QEMU does not read the channel, and much waits before it")]
    Congested,
    /// The channel ended before the reply. Whether the command was carried out
    /// is not known.
    #[error("was interrupted: {0}")]
    Ended(QtestEnd),
}

/// Why a qtest channel is of no more use. Everyone who waited on it is told
/// the same.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum QtestEnd {
    /// QEMU closed it, and lives on.
    #[error("QEMU closed the qtest channel")]
    Closed,
    /// Sending or receiving failed.
    #[error("the qtest channel broke: {0}")]
    Broken(Arc<io::Error>),
    /// QEMU broke the protocol.
    #[error("{0}")]
    Protocol(QtestProtocolError),
    /// The machine ended.
    #[error("{0}")]
    MachineEnded(Arc<ExitReport>),
}

/// No interrupt came.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum IrqError {
    /// No line has changed in time.
    #[error("{server}: no interrupt line has changed within {limit:?}{seen}")]
    Timeout {
        /// Whose interrupts were listened for, such as `machine 'qemu-1'`.
        server: String,
        /// The deadline.
        limit: Duration,
        /// What QEMU and the console said last, in lines of their own.
        seen: String,
    },
    /// The listener lagged, and its oldest changes were dropped for the newer.
    /// Told once; then it goes on with what is there.
    #[error("{server}: the listener lagged, and {missed} changes of interrupt lines were dropped")]
    Lagged {
        /// Whose interrupts were listened for, such as `machine 'qemu-1'`.
        server: String,
        /// How many were dropped since it was last told.
        missed: u64,
    },
    /// The channel has ended, and no change is left.
    #[error("{server}: no more interrupts: {cause}")]
    Ended {
        /// Whose interrupts were listened for, such as `machine 'qemu-1'`.
        server: String,
        /// Why there is no channel any more.
        cause: QtestEnd,
    },
}

impl QtestError {
    /// Why the channel has ended, where it has.
    pub fn ended(&self) -> Option<&QtestEnd> {
        match &*self.failure {
            QtestFailure::Ended(cause) => Some(cause),
            _ => None,
        }
    }
}

impl From<io::Error> for QtestEnd {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A unix socket tells so of a peer that closed with something of
            // ours unread.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Broken(Arc::new(error)),
        }
    }
}

impl From<QtestProtocolError> for QtestEnd {
    fn from(error: QtestProtocolError) -> Self {
        Self::Protocol(error)
    }
}
