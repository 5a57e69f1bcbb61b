//! The errors of a qtest channel.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp_engine::error_text::Quoted;

use super::QtestProtocolError;
use crate::life::ExitReport;
use qemu_qmp::error::ErrorKind;

/// A command on a qtest channel failed.
#[derive(Clone)]
#[non_exhaustive]
pub struct QtestError {
    /// The machine, such as `machine 'qemu-1'`.
    pub server: String,
    /// The command, without the data to write.
    pub command: String,
    /// Why it failed.
    pub failure: Box<QtestFailure>,
    /// The last output of QEMU and the console, on lines of their own; empty if
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

/// Why a command on a qtest channel failed.
#[derive(Clone)]
#[non_exhaustive]
pub enum QtestFailure {
    /// QEMU refused the command.
    Refused {
        /// QEMU's message.
        message: String,
    },
    /// The caller does not control the clock, see
    /// [`Qtest::controls_clock`](super::Qtest::controls_clock). Nothing was
    /// sent.
    NeedsAccelerator,
    /// An argument cannot be sent. Nothing was sent.
    Argument {
        /// What is wrong with the argument.
        reason: &'static str,
    },
    /// No reply came in time. QEMU may still run the command; its reply will be
    /// dropped.
    Timeout {
        /// The deadline.
        limit: Duration,
    },
    /// The reply does not have the form that this command needs.
    Unexpected {
        /// The beginning of the reply.
        reply: String,
    },
    /// The send queue is full, because QEMU is not reading the channel. Nothing
    /// was sent.
    Congested,
    /// The channel ended before the reply. It is not known whether QEMU ran the
    /// command.
    Ended(QtestEnd),
}

impl fmt::Display for QtestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { message } => write!(f, "failed: {message}"),
            Self::NeedsAccelerator => f.write_str(
                "was not sent: only QEMU's accelerator 'qtest' lets the caller set the clock, and this \
                 QEMU runs on TCG because it has no 'qtest'; install the module or another QEMU",
            ),
            Self::Argument { reason } => write!(f, "was not sent: {reason}"),
            Self::Timeout { limit } => write!(f, "failed: no reply within {limit:?}"),
            Self::Unexpected { reply } => {
                write!(f, "failed: its reply has an unexpected form: {}", Quoted(reply))
            }
            Self::Congested => f.write_str(
                "was not sent: QEMU does not read the channel, and the queue to it is full",
            ),
            Self::Ended(cause) => write!(f, "was interrupted: {cause}"),
        }
    }
}

impl Error for QtestFailure {}

impl QtestFailure {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } => ErrorKind::Refused,
            Self::NeedsAccelerator => ErrorKind::Unsupported,
            Self::Argument { .. } => ErrorKind::InvalidInput,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Unexpected { .. } => ErrorKind::Protocol,
            Self::Congested => ErrorKind::Congested,
            Self::Ended(cause) => cause.kind(),
        }
    }

    /// The error of the system, if one is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Ended(cause) => cause.io_error(),
            _ => None,
        }
    }
}

/// Why a qtest channel has ended. Every waiter gets the same cause.
#[derive(Clone)]
#[non_exhaustive]
pub enum QtestEnd {
    /// The machine was launched without a qtest channel.
    NotAdded,
    /// QEMU closed the channel and is still running.
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
                "the machine was launched without a qtest channel; add it by `builder.qtest()`",
            ),
            Self::Closed => f.write_str("QEMU closed the qtest channel"),
            Self::Broken(cause) => write!(f, "the qtest channel failed: {cause}"),
            Self::Protocol(cause) => write!(f, "{cause}"),
            Self::MachineEnded(report) => write!(f, "{report}"),
        }
    }
}

impl Error for QtestEnd {}

impl QtestEnd {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotAdded => ErrorKind::Unsupported,
            Self::Closed | Self::MachineEnded(_) => ErrorKind::Ended,
            Self::Broken(cause) => ErrorKind::of_io(cause),
            Self::Protocol(cause) => cause.kind(),
        }
    }

    /// The error of the system, if one is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Broken(cause) => Some(cause),
            _ => None,
        }
    }
}

impl QtestError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }

    /// The error of the system, if one is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.failure.io_error()
    }

    /// Why the channel has ended; `None` if that is not the cause.
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
            // A unix socket reports this if the peer closed it with unread
            // bytes.
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
