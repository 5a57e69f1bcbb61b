//! The errors of connecting.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::Disconnected;
use crate::error_kind::ErrorKind;

/// Connecting failed.
#[derive(Clone)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address cannot be reached, or may not be used.
    Address {
        /// `connect to` or `listen on`.
        action: &'static str,
        /// The address as the caller gave it.
        address: String,
        /// The system error.
        cause: Arc<io::Error>,
    },
    /// This process has no thread or descriptor left.
    Setup(Arc<io::Error>),
    /// The server was not ready in time.
    Timeout {
        /// The server's address as the caller gave it; `the server` for a connected
        /// socket.
        server: String,
        /// The deadline.
        limit: Duration,
        /// The step that was not finished.
        stage: ConnectStage,
    },
    /// The connection ended before the handshake finished.
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
                write!(
                    f,
                    "the connection ended before the handshake finished: {cause}"
                )
            }
        }
    }
}

impl StdError for ConnectError {}

impl ConnectError {
    /// The kind of failure, to decide by.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Address { cause, .. } | Self::Setup(cause) => ErrorKind::of_io(cause),
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Disconnected(cause) => cause.kind(),
        }
    }

    /// The system error, if that is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Address { cause, .. } | Self::Setup(cause) => Some(cause),
            Self::Disconnected(cause) => cause.io_error(),
            Self::Timeout { .. } => None,
        }
    }
}

/// The step of connecting that was not finished at the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectStage {
    /// The path of the server's socket did not exist.
    NoSocket,
    /// Nothing listened at the address. The file of a socket may remain from a
    /// server that has ended.
    NothingListens,
    /// The server's queue of connections was full: it did not accept them.
    QueueFull,
    /// The host did not answer.
    Connection,
    /// No server connected to the listener.
    Accept,
    /// The server sent no greeting.
    Greeting {
        /// Whether the server may serve another client: it listens, and serves
        /// one client at a time.
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
            Self::QueueFull => "its queue of connections is full, because it does not accept them",
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
                    "connected to {server}, but capabilities negotiation had no answer within \
                     {limit:?}"
                );
            }
        };
        write!(f, "no connection to {server} within {limit:?}: {why}")
    }
}

impl From<io::Error> for ConnectError {
    fn from(error: io::Error) -> Self {
        Self::Setup(Arc::new(error))
    }
}
