//! What can go wrong: one error for each kind of operation.
//!
//! Each has a message that is complete by itself, `kind()` to decide by, and
//! fields to match on. `source()` returns `None`, because the message contains
//! its causes: a program that prints a chain would print them twice.

pub use crate::client::error::{EventError, ExecuteError, ExecuteFailure};
pub use crate::client::job::{JobError, JobFailure};
pub use crate::client::migration::MigrationError;
pub use crate::connect::error::ConnectError;
pub use crate::error_kind::ErrorKind;
pub use crate::schema::question::QuestionError;
pub use crate::wire::error_reply::{ErrorClass, ErrorReply};
pub use crate::wire::protocol_error::ProtocolError;
