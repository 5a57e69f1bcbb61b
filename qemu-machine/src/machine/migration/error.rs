//! Why a guest was not moved, saved or loaded.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use qemu_qmp::{ExecuteError, MigrationError};

/// A guest was not moved, saved or loaded.
#[non_exhaustive]
pub enum MoveError {
    /// The migration failed, on either side.
    Migration(MigrationError),
    /// The file cannot be opened or written.
    File {
        /// The machine's name.
        machine: String,
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// No descriptor is left for a socket between the two machines.
    Socket {
        /// The machine's name.
        machine: String,
        /// What the system says.
        cause: io::Error,
    },
    /// This QEMU would save a running guest with some of its memory out of date.
    /// Nothing was started.
    NotLive {
        /// The machine's name.
        machine: String,
        /// The version of its QEMU, such as `7.2.22`.
        version: String,
    },
    /// It took too long. A save or a move was given up; a load goes on.
    Timeout {
        /// The machine's name.
        machine: String,
        /// What it was to do, such as `move its guest`.
        action: &'static str,
        /// The deadline.
        limit: Duration,
    },
}

impl fmt::Display for MoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Migration(cause) => write!(f, "{cause}"),
            Self::File {
                machine,
                action,
                path,
                cause,
            } => {
                let path = path.display();
                write!(f, "machine '{machine}': cannot {action} {path}: {cause}")
            }
            Self::Socket { machine, cause } => write!(
                f,
                "machine '{machine}': cannot be connected with the other: {cause}"
            ),
            Self::NotLive { machine, version } => write!(
                f,
                "machine '{machine}': cannot save or move its guest while that runs: QEMU \
                 {version} with TCG loses memory that the guest writes meanwhile (fixed in 9.0); \
                 leave out 'live()', so that the guest is paused, or use KVM"
            ),
            Self::Timeout {
                machine,
                action,
                limit,
            } => write!(f, "machine '{machine}': did not {action} within {limit:?}"),
        }
    }
}

impl Error for MoveError {}

impl From<MigrationError> for MoveError {
    fn from(error: MigrationError) -> Self {
        Self::Migration(error)
    }
}

impl From<ExecuteError> for MoveError {
    fn from(error: ExecuteError) -> Self {
        Self::Migration(MigrationError::Execute(error))
    }
}

impl MoveError {
    /// Whether QEMU refused to begin, so that no migration is under way.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Migration(MigrationError::Execute(error)) if error.reply().is_some())
    }
}
