//! How a server can break the protocol.

use std::error::Error;
use std::fmt;

use super::ErrorReply;
use crate::error_kind::ErrorKind;

/// The server broke the protocol. The connection ends.
#[derive(Clone)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A line is not JSON.
    NotJson {
        /// The start of the line.
        line: String,
        /// The parser's message.
        reason: String,
    },
    /// A line is JSON, but not an object.
    NotAnObject {
        /// The start of the line.
        line: String,
    },
    /// A line is an object, but not a message of the protocol.
    Malformed {
        /// The start of the line.
        line: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line did not end within the limit.
    LineTooLong {
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// The first message was not the greeting.
    NoGreeting {
        /// The start of the line.
        line: String,
    },
    /// The server refused the negotiation of capabilities.
    NegotiationRefused {
        /// The server's answer.
        reply: ErrorReply,
    },
    /// The server could not parse one of several commands and did not report
    /// which. So no reply can be attributed any more.
    UnattributedError {
        /// How many commands had no reply yet.
        in_flight: usize,
        /// The server's answer.
        reply: ErrorReply,
    },
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { line, reason } => {
                write!(
                    f,
                    "the server sent a line that is not JSON ({reason}): {line}"
                )
            }
            Self::NotAnObject { line } => {
                write!(f, "the server sent JSON that is not an object: {line}")
            }
            Self::Malformed { line, reason } => write!(
                f,
                "the server sent an object that is not a QMP message ({reason}): {line}"
            ),
            Self::LineTooLong { limit_bytes } => write!(
                f,
                "the server sent a line longer than {limit_bytes} bytes; set a higher limit"
            ),
            Self::NoGreeting { line } => {
                write!(f, "the server sent no greeting first, but: {line}")
            }
            Self::NegotiationRefused { reply } => {
                write!(f, "the server refused capabilities negotiation: {reply}")
            }
            Self::UnattributedError { in_flight, reply } => write!(
                f,
                "the server could not parse one of {in_flight} commands in flight: {reply}"
            ),
        }
    }
}

impl Error for ProtocolError {}

impl ProtocolError {
    /// The kind of failure, to decide by.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NegotiationRefused { .. } => ErrorKind::Refused,
            _ => ErrorKind::Protocol,
        }
    }
}
