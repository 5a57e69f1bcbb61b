//! Why a connection has ended.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::error_kind::ErrorKind;
use crate::wire::ProtocolError;

/// Why a connection has ended. Every waiter on it gets the same cause.
#[derive(Clone)]
#[non_exhaustive]
pub enum Disconnected {
    /// The server closed the connection.
    ByServer,
    /// This side closed it, or dropped its last handle.
    ByClient,
    /// Sending or receiving failed.
    Broken(Arc<io::Error>),
    /// The server broke the protocol.
    Protocol(ProtocolError),
    /// The program behind the connection has ended. Its supervisor reports
    /// how.
    ServerEnded(Arc<dyn StdError + Send + Sync>),
}

impl Disconnected {
    /// The kind of the cause, to decide by.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::ByServer | Self::ByClient | Self::ServerEnded(_) => ErrorKind::Ended,
            Self::Broken(cause) => ErrorKind::of_io(cause),
            Self::Protocol(cause) => cause.kind(),
        }
    }

    /// The system error, if that is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Broken(cause) => Some(cause),
            _ => None,
        }
    }

    /// Whether the server ended it, by closing it or by ending itself.
    pub(crate) fn is_by_server(&self) -> bool {
        matches!(self, Self::ByServer | Self::ServerEnded(_))
    }
}

impl fmt::Display for Disconnected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByServer => f.write_str("the server closed the connection"),
            Self::ByClient => f.write_str("the connection was closed on this side"),
            Self::Broken(cause) => write!(f, "the connection broke: {cause}"),
            Self::Protocol(cause) => write!(f, "{cause}"),
            Self::ServerEnded(cause) => write!(f, "{cause}"),
        }
    }
}

impl StdError for Disconnected {}

impl From<io::Error> for Disconnected {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A unix socket reports this when the server closed it before it
            // read all that we sent.
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
