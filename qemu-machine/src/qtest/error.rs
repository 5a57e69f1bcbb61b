//! What can go wrong on a qtest channel.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp_engine::error_text::Quoted;

use super::QtestProtocolError;
use crate::life::ExitReport;

/// A command on a qtest channel did not bring what was asked for.
#[derive(Clone)]
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

impl fmt::Display for QtestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            command,
            failure,
            seen,
        } = self;
        write!(f, "{server}: qtest command '{command}' {failure}{seen}")
    }
}

impl Error for QtestError {}

/// Why a command on a qtest channel did not bring what was asked for.
#[derive(Clone)]
#[non_exhaustive]
pub enum QtestFailure {
    /// QEMU refused it.
    Refused {
        /// What QEMU says.
        words: String,
    },
    /// The clock is not the caller's. Nothing was sent.
    NeedsAccelerator,
    /// It has an argument that cannot be sent. Nothing was sent.
    Argument {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No reply came in time. The command may be carried out still; its reply
    /// will be dropped.
    Timeout {
        /// The deadline.
        limit: Duration,
    },
    /// The reply came, but not in the form that such a command has.
    Unexpected {
        /// How it begins.
        reply: String,
    },
    /// QEMU has not read its channel for long, and much waits to be sent.
    Congested,
    /// The channel ended before the reply. Whether the command was carried out
    /// is not known.
    Ended(QtestEnd),
}

impl fmt::Display for QtestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { words } => write!(f, "failed: {words}"),
            Self::NeedsAccelerator => f.write_str(
                "needs QEMU's accelerator 'qtest', which alone lets the clock be set: this QEMU \
                 could not start with it, as its binary was built without it or lacks the \
                 module, and runs on TCG",
            ),
            Self::Argument { reason } => write!(f, "cannot be sent: {reason}"),
            Self::Timeout { limit } => write!(f, "had no reply within {limit:?}"),
            Self::Unexpected { reply } => {
                write!(f, "had a reply of another form: {}", Quoted(reply))
            }
            Self::Congested => f.write_str(
                "was not sent: QEMU does not read the channel, and much waits before it",
            ),
            Self::Ended(cause) => write!(f, "was interrupted: {cause}"),
        }
    }
}

impl Error for QtestFailure {}

/// Why a qtest channel is of no more use. Everyone who waited on it is told
/// the same.
#[derive(Clone)]
#[non_exhaustive]
pub enum QtestEnd {
    /// The machine was launched without a qtest channel.
    NotAdded,
    /// QEMU closed it, and lives on.
    Closed,
    /// Sending or receiving failed.
    Broken(Arc<io::Error>),
    /// QEMU broke the protocol.
    Protocol(QtestProtocolError),
    /// The machine ended.
    MachineEnded(Arc<ExitReport>),
}

impl fmt::Display for QtestEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAdded => f.write_str(
                "the machine was launched without a qtest channel: add it by `builder.qtest()`",
            ),
            Self::Closed => f.write_str("QEMU closed the qtest channel"),
            Self::Broken(cause) => write!(f, "the qtest channel broke: {cause}"),
            Self::Protocol(cause) => write!(f, "{cause}"),
            Self::MachineEnded(report) => write!(f, "{report}"),
        }
    }
}

impl Error for QtestEnd {}

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
