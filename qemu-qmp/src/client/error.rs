//! What can go wrong between a caller and the server, sorted by blame.
//!
//! Each message is whole by itself, with its cause in it. So a cause is a field
//! like any other, and not a `source`, which who prints a chain would repeat.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use thiserror::Error;

use crate::wire::{ErrorReply, ProtocolError};

/// Why a connection is of no more use. Everyone who waited on it is told the
/// same one.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum Disconnected {
    /// The server closed the connection.
    #[error("the server closed the connection")]
    ByServer,
    /// We closed it, or dropped its last handle.
    #[error("the connection was closed on this side")]
    ByClient,
    /// Sending or receiving failed.
    #[error("the connection broke: {0}")]
    Broken(Arc<io::Error>),
    /// The server broke the protocol.
    #[error("{0}")]
    Protocol(ProtocolError),
    /// The program behind the connection has ended, and who supervises it
    /// says how.
    #[error("{0}")]
    ServerEnded(Arc<dyn StdError + Send + Sync>),
}

impl From<io::Error> for Disconnected {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A unix socket tells so of a server that closed with something
            // of ours unread.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::ByServer,
            _ => Self::Broken(Arc::new(error)),
        }
    }
}

impl From<ProtocolError> for Disconnected {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}

/// A connection did not come about.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody is to be reached at the address, or it is not ours to use.
    #[error("cannot {action} {address}: {cause}")]
    Address {
        /// `connect to` or `listen on`.
        action: &'static str,
        /// The address as it was given.
        address: String,
        /// What the system says.
        cause: io::Error,
    },
    /// This process has no thread or descriptor left.
    #[error("cannot set up the connection: {0}")]
    Setup(io::Error),
    /// The server did not greet and negotiate in time.
    #[error("no QMP server was ready within {limit:?}: {waited_for}")]
    Timeout {
        /// The deadline.
        limit: Duration,
        /// What was still to come.
        waited_for: &'static str,
    },
    /// The connection was lost before it was of use.
    #[error("the connection ended before it was ready: {0}")]
    Disconnected(Disconnected),
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Setup(error)
    }
}

/// A command did not bring what was asked for.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExecuteError {
    /// The server refused the command.
    #[error("command '{command}' failed: {reply}")]
    Refused {
        /// The command's name.
        command: String,
        /// Its arguments as they were sent; `None` if it had none.
        arguments: Option<Box<RawValue>>,
        /// The server's answer.
        reply: Box<ErrorReply>,
    },
    /// No reply came in time. The command may be executed still; its reply
    /// will be dropped.
    #[error("no reply to command '{command}' within {limit:?}")]
    Timeout {
        /// The command's name.
        command: String,
        /// The deadline.
        limit: Duration,
    },
    /// The connection was lost before the reply. Whether the command was
    /// executed is not known.
    #[error("command '{command}' was interrupted: {cause}")]
    Interrupted {
        /// The command's name.
        command: String,
        /// Why there is no connection.
        cause: Disconnected,
    },
    /// The arguments cannot be written as a JSON object. Nothing was sent.
    #[error("the arguments of command '{command}' cannot be sent: {reason}")]
    Arguments {
        /// The command's name.
        command: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The reply came, but not in the shape that was asked for.
    #[error("the reply to command '{command}' has another shape: {cause}")]
    Shape {
        /// The command's name.
        command: String,
        /// What was received.
        received: Box<RawValue>,
        /// Where the shapes differ.
        cause: serde_json::Error,
    },
    /// The server offers no out-of-band execution. Nothing was sent.
    #[error("command '{command}' cannot be executed out of band: the server does not offer it")]
    NoOutOfBand {
        /// The command's name.
        command: String,
    },
    /// The server has not read its commands for long, and too many wait to be
    /// sent. Nothing was sent.
    #[error("command '{command}' was not sent: the server does not read, and much waits before it")]
    Congested {
        /// The command's name.
        command: String,
    },
}

impl ExecuteError {
    /// The server's own words, where it refused the command.
    pub fn reply(&self) -> Option<&ErrorReply> {
        match self {
            Self::Refused { reply, .. } => Some(reply),
            _ => None,
        }
    }

    /// Why the connection was lost, where it was.
    pub fn disconnected(&self) -> Option<&Disconnected> {
        match self {
            Self::Interrupted { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

/// No event came.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum EventError {
    /// It did not come in time. What else came is still to be had.
    #[error("no {expected} within {limit:?}")]
    Timeout {
        /// What was waited for.
        expected: String,
        /// The deadline.
        limit: Duration,
    },
    /// The listener lagged, and its oldest events were dropped for the newer.
    /// Told once; then it goes on with what is there.
    #[error("the listener lagged: {missed} events were dropped")]
    Lagged {
        /// How many were dropped since it was last told.
        missed: u64,
    },
    /// The connection has ended, and no event of it is left that would do.
    #[error("no more events: {cause}")]
    Ended {
        /// Why there is no connection.
        cause: Disconnected,
    },
}
