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

use thiserror::Error;

pub use agent::{AgentAnswer, AgentConnection, AgentOutput, AgentSettings, Port, Standing};
pub use connection::{Connection, Id, IdInFlight, Line, Output, Settings};
pub use error_reply::{ErrorClass, ErrorReply};
pub use event::Event;
pub use greeting::{Greeting, Version};

/// The server broke the protocol; the connection is of no more use.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// What came is no JSON.
    #[error("the server sent what is no JSON ({reason}): {line}")]
    NotJson {
        /// The start of the line.
        line: String,
        /// What the parser says.
        reason: String,
    },
    /// What came is JSON, but no object.
    #[error("the server sent JSON that is no object: {line}")]
    NotAnObject {
        /// The start of the line.
        line: String,
    },
    /// What came is an object, but no message of the protocol.
    #[error("the server sent an object that is no QMP message ({reason}): {line}")]
    Malformed {
        /// The start of the line.
        line: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line did not end within the limit.
    #[error("the server sent a line of over {limit_bytes} bytes; a higher limit can be set")]
    LineTooLong {
        /// The limit that was in force.
        limit_bytes: usize,
    },
    /// Something else than the greeting came first.
    #[error("the server did not greet; it sent: {line}")]
    NoGreeting {
        /// The start of the line.
        line: String,
    },
    /// The server refused the negotiation of capabilities.
    #[error("the server refused capabilities negotiation: {reply}")]
    NegotiationRefused {
        /// Its answer.
        reply: ErrorReply,
    },
    /// The server could not read one of several commands and did not say
    /// which, so none of them can count on its reply.
    #[error("the server could not read one of {in_flight} commands in flight: {reply}")]
    UnattributedError {
        /// How many commands waited for their reply.
        in_flight: usize,
        /// Its answer.
        reply: ErrorReply,
    },
}
