//! The errors of commands and of listeners.
//!
//! Each message is complete: it contains its cause. So a cause is a field, and
//! not a `source`: a program that prints the chain would print it twice.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::Disconnected;
use crate::error_kind::ErrorKind;
use crate::wire::ErrorReply;
use qemu_qmp_engine::error_text::Quoted;

/// A command failed.
#[derive(Clone)]
#[non_exhaustive]
pub struct ExecuteError {
    /// The server, such as `machine 'qemu-1'`.
    pub server: String,
    /// The command's name.
    pub command: String,
    /// Why it failed.
    pub failure: Box<ExecuteFailure>,
    /// What was seen of the server, in lines of their own. Empty where nothing
    /// is known, or where it would not help.
    pub seen: String,
}

/// Why a command failed.
#[derive(Clone)]
#[non_exhaustive]
pub enum ExecuteFailure {
    /// The server refused the command.
    Refused {
        /// The arguments as they were sent; `None` without arguments.
        arguments: Option<Box<RawValue>>,
        /// The server's answer.
        reply: Box<ErrorReply>,
    },
    /// No reply came in time. The server may still execute the command; its
    /// reply will be dropped.
    Timeout {
        /// The deadline.
        limit: Duration,
    },
    /// The connection ended before the reply. The server may have executed the
    /// command.
    Interrupted {
        /// Why the connection ended.
        cause: Disconnected,
    },
    /// The arguments are not a JSON object. Nothing was sent.
    Arguments {
        /// What is wrong with them.
        reason: String,
    },
    /// The reply has another form than the type that was asked for.
    Shape {
        /// The reply as it was received.
        received: Box<RawValue>,
        /// Where the forms differ.
        cause: Arc<serde_json::Error>,
    },
    /// The server does not offer out-of-band execution. Nothing was sent.
    NoOutOfBand,
    /// Another command with this id has no reply yet, even if its caller has
    /// given up. Nothing was sent.
    IdInFlight {
        /// The id that was asked for.
        id: String,
    },
    /// The connection is not a unix socket, so it cannot pass descriptors.
    /// Nothing was sent.
    NoDescriptors,
    /// The file to pass cannot be opened. Nothing was sent.
    File {
        /// Its path.
        path: PathBuf,
        /// The system error.
        cause: Arc<io::Error>,
    },
    /// The send queue is full, or 100,000 commands have no reply yet. Nothing
    /// was sent.
    Congested,
}

impl ExecuteFailure {
    /// The kind of failure, to decide by.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Interrupted { cause } => cause.kind(),
            Self::Arguments { .. } | Self::IdInFlight { .. } => ErrorKind::InvalidInput,
            Self::Shape { .. } => ErrorKind::Protocol,
            Self::NoOutOfBand | Self::NoDescriptors => ErrorKind::Unsupported,
            Self::File { cause, .. } => ErrorKind::of_io(cause),
            Self::Congested => ErrorKind::Congested,
        }
    }

    /// The system error, if that is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Interrupted { cause } => cause.io_error(),
            Self::File { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

impl fmt::Display for ExecuteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reply, .. } => write!(f, "failed: {reply}"),
            Self::Timeout { limit } => write!(f, "failed: no reply within {limit:?}"),
            Self::Interrupted { cause } => write!(f, "was interrupted: {cause}"),
            Self::Arguments { reason } => write!(f, "was not sent: invalid arguments: {reason}"),
            Self::Shape { cause, .. } => {
                write!(f, "failed: its reply has an unexpected form: {cause}")
            }
            Self::NoOutOfBand => {
                f.write_str("was not sent: the server does not offer out-of-band execution")
            }
            Self::IdInFlight { id } => write!(
                f,
                "was not sent: another command with the id {} has no reply yet",
                Quoted(id)
            ),
            Self::NoDescriptors => {
                f.write_str("was not sent: only a unix socket can pass a descriptor")
            }
            Self::File { path, cause } => {
                write!(f, "was not sent: cannot open {}: {cause}", path.display())
            }
            Self::Congested => f.write_str(
                "was not sent: the server does not read or answer, and the queue to it is full",
            ),
        }
    }
}

impl StdError for ExecuteFailure {}

impl ExecuteError {
    /// The kind of failure, to decide by.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }

    /// The system error, if that is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.failure.io_error()
    }

    /// The server's error reply, if it refused the command.
    pub fn reply(&self) -> Option<&ErrorReply> {
        match &*self.failure {
            ExecuteFailure::Refused { reply, .. } => Some(reply),
            _ => None,
        }
    }

    /// Why the connection ended, if it did.
    pub fn disconnected(&self) -> Option<&Disconnected> {
        match &*self.failure {
            ExecuteFailure::Interrupted { cause } => Some(cause),
            _ => None,
        }
    }
}

impl fmt::Display for ExecuteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            command,
            failure,
            seen,
        } = self;
        let command = Quoted(command);
        write!(f, "{server}: command {command} {failure}{seen}")
    }
}

impl StdError for ExecuteError {}

/// No event came, or no other item of a [`Subscription`](crate::Subscription).
#[derive(Clone)]
#[non_exhaustive]
pub enum EventError<C = Disconnected> {
    /// No matching item came in time. Items that did not match are kept.
    Timeout {
        /// The server, such as `machine 'qemu-1'`.
        server: String,
        /// The item that was expected.
        expected: String,
        /// The deadline.
        limit: Duration,
        /// What was seen of the server, in lines of their own. Empty where
        /// nothing is known.
        seen: String,
    },
    /// The listener lagged, and its oldest items were dropped. Reported once;
    /// then the listener continues with the items that it has.
    Lagged {
        /// The server, such as `machine 'qemu-1'`.
        server: String,
        /// The name of an item, such as `event`.
        what: &'static str,
        /// How many items were dropped since the last report.
        missed: u64,
    },
    /// The listener has ended, and no item that it has matches.
    Ended {
        /// The server, such as `machine 'qemu-1'`.
        server: String,
        /// The name of an item, such as `event`.
        what: &'static str,
        /// Why it ended.
        cause: C,
    },
    /// An event of the expected name has data of another form. Only
    /// [`next_typed`](crate::Events::next_typed) returns this.
    Shape {
        /// The server, such as `machine 'qemu-1'`.
        server: String,
        /// The event that was expected.
        expected: String,
        /// Where the forms differ.
        cause: Arc<serde_json::Error>,
        /// The event as it was received.
        event: Box<crate::Event>,
    },
}

impl<C> EventError<C> {
    /// The kind of failure, to decide by. `Ended` is [`ErrorKind::Ended`],
    /// whatever its cause.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Lagged { .. } => ErrorKind::Lagged,
            Self::Ended { .. } => ErrorKind::Ended,
            Self::Shape { .. } => ErrorKind::Protocol,
        }
    }
}

impl EventError {
    /// The system error, if that ended the connection.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Ended { cause, .. } => cause.io_error(),
            _ => None,
        }
    }
}

impl<C: fmt::Display> fmt::Display for EventError<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout {
                server,
                expected,
                limit,
                seen,
            } => {
                write!(f, "{server}: no {expected} within {limit:?}{seen}")
            }
            Self::Lagged {
                server,
                what,
                missed,
            } => write!(
                f,
                "{server}: the listener lagged, and {missed} {what}s were dropped"
            ),
            Self::Ended {
                server,
                what,
                cause,
            } => write!(f, "{server}: no more {what}s: {cause}"),
            Self::Shape {
                server,
                expected,
                cause,
                ..
            } => write!(f, "{server}: {expected} has an unexpected form: {cause}"),
        }
    }
}

impl<C: fmt::Display> StdError for EventError<C> {}
