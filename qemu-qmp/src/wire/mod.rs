//! The protocol without I/O: bytes in, messages out.
//!
//! ```text
//! bytes -> frame (lines) -> message (envelopes) -> Connection -> Output
//!                                             `--> AgentConnection -> AgentOutput
//! ```
//!
//! Never touches a socket, a thread or a clock.

mod agent;
mod connection;
pub(crate) mod error_reply;
pub(crate) mod event;
mod frame;
mod greeting;
mod members;
mod message;
pub(crate) mod protocol_error;

pub use agent::{
    AgentAnswer, AgentConnection, AgentOutput, AgentSettings, PauseReason, Port, RequestStage,
};
pub use connection::{Connection, Id, IdInFlight, Line, Output, Settings};
pub(crate) use error_reply::ErrorReply;
pub(crate) use event::{Event, TypedEvent};
pub use greeting::{Greeting, Version};
pub(crate) use protocol_error::ProtocolError;
