//! The console of a machine. The engine always reads it, searches it as the
//! bytes come, and anyone may write to it.
//!
//! ```text
//! QEMU's socket --pump (engine)--> log file, Buffer --match--> Expect
//! Send --bytes--> QEMU's socket                       (on the caller's thread)
//! ```

pub(crate) mod buffer;
mod config;
mod connect;
pub(crate) mod expect;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub(crate) mod handle;
pub(crate) mod interact;
mod log_file;
mod noise;
pub(crate) mod pattern;
mod person_output;
mod query_filter;
mod restore;
pub(crate) mod screen;
mod searches;
pub(crate) mod send;
mod sequences;
pub(crate) mod shell;
mod terminal;
mod terminal_modes;

pub use buffer::Match;
pub use connect::ConnectConsole;
pub use expect::Expect;
pub(crate) use expect::{ExpectError, ExpectFailure};
use handle::Wire;
pub(crate) use handle::{Console, ConsoleSinks, subject, what};
pub use interact::{Interact, InteractEnd};
pub(crate) use log_file::ConsoleLog;
pub use pattern::Pattern;
pub use qemu_qmp::agent::OutputPiece;
pub(crate) use screen::Screen;
pub use screen::{Cursor, ScreenShows};
pub use send::SendBytes;
pub(crate) use send::SendError;
pub(crate) use shell::ShellError;
pub use shell::{
    NextRunPiece, OpenShell, PowerOff, Reboot, Recover, Run, ShellOutput, StartRun, StreamedRun,
};
