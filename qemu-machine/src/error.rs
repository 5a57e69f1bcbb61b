//! What can go wrong: one error for each kind of operation. [`Error`](crate::Error)
//! is one for all of them.
//!
//! Each error has
//! - a message that is complete by itself: which machine, what failed, why,
//!   what to do, and what was seen last;
//! - `kind()`, to decide by: [`ErrorKind`];
//! - `io_error()`, where an error of the system can be behind it;
//! - fields, to match on.
//!
//! `source()` returns `None`, because the message contains its causes: a program
//! that prints a chain would print them twice. The causes are fields.

pub use qemu_qmp::agent::{AgentError, AgentFailure};
pub use qemu_qmp::error::{
    ConnectError, ErrorKind, EventError, ExecuteError, ExecuteFailure, JobError, JobFailure,
    MigrationError,
};

pub use crate::accel::probe::{AccelError, BestAccelError};
pub use crate::console::expect::{ExpectError, ExpectFailure};
pub use crate::console::interact::{InteractError, InteractFailure};
pub use crate::console::pattern::PatternError;
pub use crate::console::screen::ScreenError;
pub use crate::console::send::SendError;
pub use crate::console::shell::error::{ShellError, ShellFailure};
pub use crate::display::handle::DisplayError;
pub use crate::host::AccelDenial;
pub use crate::input::error::InputError;
pub use crate::launch::error::{LaunchError, LaunchFailure};
pub use crate::machine::error::{ExitError, ShutdownError};
pub use crate::machine::forwarded_port::ForwardError;
pub use crate::machine::migration::error::MoveError;
pub use crate::machine::schema::SchemaError;
pub use crate::machine::snapshot::error::{SnapshotError, SnapshotFailure};
pub use crate::qtest::error::{QtestError, QtestFailure};
pub use crate::qtest::handle::IrqError;
pub use crate::qtest::wire::QtestProtocolError;
pub use crate::registry::error::RegistryError;
pub use crate::registry::operation::PublishedError;
pub use crate::registry::pool::PoolError;
pub use crate::template::error::TemplateError;
pub use crate::template::wake::{WakeError, WakeFailure};
