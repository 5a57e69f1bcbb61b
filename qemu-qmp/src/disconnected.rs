//! Why there is no connection any more.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

use crate::wire::ProtocolError;

/// Why a connection is of no more use. Everyone who waited on it is told the
/// same one.
#[derive(Clone)]
#[non_exhaustive]
pub enum Disconnected {
    /// The server closed the connection.
    ByServer,
    /// We closed it, or dropped its last handle.
    ByClient,
    /// Sending or receiving failed.
    Broken(Arc<io::Error>),
    /// The server broke the protocol.
    Protocol(ProtocolError),
    /// The program behind the connection has ended, and who supervises it
    /// says how.
    ServerEnded(Arc<dyn StdError + Send + Sync>),
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

impl Disconnected {
    /// Whether it was the server's doing, or its end.
    pub(crate) fn is_of_the_server(&self) -> bool {
        matches!(self, Self::ByServer | Self::ServerEnded(_))
    }
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
