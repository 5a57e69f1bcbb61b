//! What can go wrong when connecting.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::Disconnected;

/// A connection did not come about.
#[non_exhaustive]
pub enum ConnectError {
    /// Nobody is to be reached at the address, or it is not ours to use.
    Address {
        /// `connect to` or `listen on`.
        action: &'static str,
        /// The address as it was given.
        address: String,
        /// What the system says.
        cause: io::Error,
    },
    /// This process has no thread or descriptor left.
    Setup(io::Error),
    /// The server was not ready in time.
    Timeout {
        /// Where it is, as it was given; `the server` where that is not known.
        server: String,
        /// The deadline.
        limit: Duration,
        /// What was waited for at the end.
        stage: ConnectStage,
    },
    /// The connection was lost before it was of use.
    Disconnected(Disconnected),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address {
                action,
                address,
                cause,
            } => {
                write!(f, "cannot {action} {address}: {cause}")
            }
            Self::Setup(cause) => write!(f, "cannot set up the connection: {cause}"),
            Self::Timeout {
                server,
                limit,
                stage,
            } => stage.describe(f, server, *limit),
            Self::Disconnected(cause) => {
                write!(f, "the connection ended before it was ready: {cause}")
            }
        }
    }
}

impl StdError for ConnectError {}

/// What a connection lacked at its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectStage {
    /// The path of the server's socket did not exist.
    NoSocket,
    /// Nothing listened at the address. A socket's file may be left from a
    /// server that has ended.
    NothingListens,
    /// The server's queue of connections was full: it does not accept them.
    QueueFull,
    /// The host did not answer.
    Connection,
    /// No server connected to the listener.
    Accept,
    /// The server sent no greeting.
    Greeting {
        /// Whether it may serve another client: it listens, so we are one of
        /// several that may be connected.
        may_serve_another: bool,
    },
    /// The server did not answer the capabilities negotiation.
    Negotiation,
}

impl ConnectStage {
    fn describe(self, f: &mut fmt::Formatter<'_>, server: &str, limit: Duration) -> fmt::Result {
        let why = match self {
            Self::NoSocket => "nothing listens there yet, and the path does not exist",
            Self::NothingListens => "nothing listens there yet",
            Self::QueueFull => {
                "the server's queue of connections is full, as it does not accept them"
            }
            Self::Connection => "the host does not answer",
            Self::Accept => {
                return write!(f, "no server connected to {server} within {limit:?}");
            }
            Self::Greeting { may_serve_another } => {
                write!(
                    f,
                    "connected to {server}, but no greeting came within {limit:?}"
                )?;
                return if may_serve_another {
                    f.write_str(
                        ": a QMP socket serves one client at a time, and another may be connected",
                    )
                } else {
                    Ok(())
                };
            }
            Self::Negotiation => {
                return write!(
                    f,
                    "connected to {server}, but the capabilities negotiation had no answer within \
                     {limit:?}"
                );
            }
        };
        write!(f, "no connection to {server} within {limit:?}: {why}")
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Setup(error)
    }
}
