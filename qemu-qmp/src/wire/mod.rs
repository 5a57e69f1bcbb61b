//! The protocol as a sans-IO core: bytes in, messages out.
//!
//! ```text
//! bytes -> frame (lines) -> message (envelopes) -> Connection -> Output
//!                                             `--> AgentConnection -> AgentOutput
//! ```
//!
//! Never touches a socket, a thread or a clock.

mod agent;
mod connection;
mod error_reply;
mod event;
mod frame;
mod greeting;
mod members;
mod message;

use std::error::Error;
use std::fmt;

pub use agent::{
    AgentAnswer, AgentConnection, AgentHold, AgentOutput, AgentSettings, Port, Standing,
};
pub use connection::{Connection, Id, IdInFlight, Line, Output, Settings};
pub use error_reply::{ErrorClass, ErrorReply};
pub use event::Event;
pub use greeting::{Greeting, Version};

/// The server broke the protocol; the connection is of no more use.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ProtocolError {
    /// What came is no JSON.
    NotJson {
        /// The start of the line.
        line: String,
        /// What the parser says.
        reason: String,
    },
    /// What came is JSON, but no object.
    NotAnObject {
        /// The start of the line.
        line: String,
    },
    /// What came is an object, but no message of the protocol.
    Malformed {
        /// The start of the line.
        line: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line did not end within the limit.
    LineTooLong {
        /// The limit that was in force.
        limit_bytes: usize,
    },
    /// Something else than the greeting came first.
    NoGreeting {
        /// The start of the line.
        line: String,
    },
    /// The server refused the negotiation of capabilities.
    NegotiationRefused {
        /// Its answer.
        reply: ErrorReply,
    },
    /// The server could not read one of several commands and did not say
    /// which, so none of them can count on its reply.
    UnattributedError {
        /// How many commands waited for their reply.
        in_flight: usize,
        /// Its answer.
        reply: ErrorReply,
    },
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { line, reason } => {
                write!(f, "the server sent what is no JSON ({reason}): {line}")
            }
            Self::NotAnObject { line } => {
                write!(f, "the server sent JSON that is no object: {line}")
            }
            Self::Malformed { line, reason } => write!(
                f,
                "the server sent an object that is no QMP message ({reason}): {line}"
            ),
            Self::LineTooLong { limit_bytes } => write!(
                f,
                "the server sent a line of over {limit_bytes} bytes; a higher limit can be set"
            ),
            Self::NoGreeting { line } => write!(f, "the server did not greet; it sent: {line}"),
            Self::NegotiationRefused { reply } => {
                write!(f, "the server refused capabilities negotiation: {reply}")
            }
            Self::UnattributedError { in_flight, reply } => write!(
                f,
                "the server could not read one of {in_flight} commands in flight: {reply}"
            ),
        }
    }
}

impl Error for ProtocolError {}
