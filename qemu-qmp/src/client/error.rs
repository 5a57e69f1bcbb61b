//! What can go wrong between a caller and the server, sorted by blame.
//!
//! Each message is whole by itself, with its cause in it. So a cause is a field
//! like any other, and not a `source`, which who prints a chain would repeat.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::Disconnected;
use crate::wire::ErrorReply;
use qemu_qmp_engine::error_text::Quoted;

/// A command did not bring what was asked for.
#[non_exhaustive]
pub struct ExecuteError {
    /// Whom the command was for, such as `machine 'qemu-1'`.
    pub server: String,
    /// The command's name.
    pub command: String,
    /// What went wrong.
    pub failure: Box<ExecuteFailure>,
    /// What was seen of the server meanwhile, in lines of their own; empty
    /// where nothing is known, or it would not help.
    pub seen: String,
}

/// Why a command did not bring what was asked for.
#[non_exhaustive]
pub enum ExecuteFailure {
    /// The server refused the command.
    Refused {
        /// Its arguments as they were sent; `None` if it had none.
        arguments: Option<Box<RawValue>>,
        /// The server's answer.
        reply: Box<ErrorReply>,
    },
    /// No reply came in time. The command may be executed still; its reply
    /// will be dropped.
    Timeout {
        /// The deadline.
        limit: Duration,
    },
    /// The connection was lost before the reply. Whether the command was
    /// executed is not known.
    Interrupted {
        /// Why there is no connection.
        cause: Disconnected,
    },
    /// The arguments cannot be written as a JSON object. Nothing was sent.
    Arguments {
        /// What is wrong with them.
        reason: String,
    },
    /// The reply came, but not in the shape that was asked for.
    Shape {
        /// What was received.
        received: Box<RawValue>,
        /// Where the shapes differ.
        cause: serde_json::Error,
    },
    /// The server offers no out-of-band execution. Nothing was sent.
    NoOutOfBand,
    /// A command of this id waits for its reply already, even if nobody waits
    /// for that. Nothing was sent.
    IdInFlight {
        /// The id that was asked for.
        id: String,
    },
    /// The connection is no unix socket, so no descriptor can be passed.
    /// Nothing was sent.
    NoDescriptors,
    /// The file that was to be passed cannot be opened. Nothing was sent.
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The server has not read its commands for long, or answered them, given
    /// up or not, and too many wait. Nothing was sent.
    Congested,
}

impl fmt::Display for ExecuteFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { reply, .. } => write!(f, "failed: {reply}"),
            Self::Timeout { limit } => write!(f, "had no reply within {limit:?}"),
            Self::Interrupted { cause } => write!(f, "was interrupted: {cause}"),
            Self::Arguments { reason } => write!(f, "has arguments that cannot be sent: {reason}"),
            Self::Shape { cause, .. } => write!(f, "had a reply of another shape: {cause}"),
            Self::NoOutOfBand => {
                f.write_str("cannot be executed out of band: the server does not offer it")
            }
            Self::IdInFlight { id } => write!(
                f,
                "cannot be sent by the id {}: another command is, and has no reply yet",
                Quoted(id)
            ),
            Self::NoDescriptors => f.write_str(
                "cannot take a descriptor along: only unix sockets pass them, and this is none",
            ),
            Self::File { path, cause } => write!(
                f,
                "was to take {} along, which cannot be opened: {cause}",
                path.display()
            ),
            Self::Congested => f.write_str(
                "was not sent: the server does not read or answer, and much waits before it",
            ),
        }
    }
}

impl StdError for ExecuteFailure {}

impl ExecuteError {
    /// The server's own words, where it refused the command.
    pub fn reply(&self) -> Option<&ErrorReply> {
        match &*self.failure {
            ExecuteFailure::Refused { reply, .. } => Some(reply),
            _ => None,
        }
    }

    /// Why the connection was lost, where it was.
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
    /// It did not come in time. Other items that came are still there.
    Timeout {
        /// The server that was listened to.
        server: String,
        /// What was expected.
        expected: String,
        /// The deadline.
        limit: Duration,
        /// What the server did meanwhile, in lines of their own; empty where
        /// nothing is known.
        seen: String,
    },
    /// The listener lagged, and its oldest items were dropped. Reported once;
    /// then the listener goes on with what is there.
    Lagged {
        /// The server that was listened to.
        server: String,
        /// What the items are, such as `event`.
        what: &'static str,
        /// How many were dropped since the last report.
        missed: u64,
    },
    /// No more items come, and none is left that matches.
    Ended {
        /// The server that was listened to.
        server: String,
        /// What the items are, such as `event`.
        what: &'static str,
        /// Why no more come.
        cause: C,
    },
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
        }
    }
}

impl<C: fmt::Display> StdError for EventError<C> {}
