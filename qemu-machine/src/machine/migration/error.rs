//! Why a move, save or load of a guest failed.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::error::{ExecuteError, MigrationError};

use qemu_qmp::error::ErrorKind;

use crate::Machine;

/// A move, save or load of a guest failed.
#[derive(Clone)]
#[non_exhaustive]
pub enum MoveError {
    /// The migration failed, on either side.
    Migration(MigrationError),
    /// The file cannot be opened or written.
    File {
        /// The machine's name.
        machine: String,
        /// What the operation did with it.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// This process has no free descriptor for a socket between the two
    /// machines.
    Socket {
        /// The machine's name.
        machine: String,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// This QEMU would save a running guest with memory that is partly out of
    /// date. Nothing was started.
    NotLive {
        /// The machine's name.
        machine: String,
        /// The version of its QEMU, such as `7.2.22`.
        version: String,
    },
    /// Disks of the guest are overlays in the private directory of the machine,
    /// which ends with it. The guest goes on.
    PrivateDisks {
        /// The machine's name.
        machine: String,
    },
    /// The deadline passed. A save or a move was cancelled; a load continues.
    Timeout {
        /// The machine's name.
        machine: String,
        /// What the machine did not do, such as `move its guest`.
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
                "machine '{machine}': cannot make a socket to the other machine: {cause}"
            ),
            Self::NotLive { machine, version } => write!(
                f,
                "machine '{machine}': cannot save or move a running guest: QEMU {version} with \
                 TCG loses memory that it writes (fixed in 9.0); remove 'live()', or use KVM"
            ),
            Self::PrivateDisks { machine } => write!(
                f,
                "machine '{machine}': cannot save or move its guest, because its disks are \
                 overlays that end with the machine; freeze it (`freezable`, `freeze`), which \
                 takes the disks too"
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
    /// Fails if the guest has disks that no other machine can have.
    pub(super) fn check_disks(machine: &Machine) -> Result<(), Self> {
        if machine.inner.has_private_disks {
            return Err(Self::PrivateDisks {
                machine: machine.name().to_owned(),
            });
        }
        Ok(())
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Migration(cause) => cause.kind(),
            Self::File { cause, .. } | Self::Socket { cause, .. } => ErrorKind::of_io(cause),
            Self::NotLive { .. } | Self::PrivateDisks { .. } => ErrorKind::Unsupported,
            Self::Timeout { .. } => ErrorKind::Timeout,
        }
    }

    /// The error of the system behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Migration(cause) => cause.io_error(),
            Self::File { cause, .. } | Self::Socket { cause, .. } => Some(cause),
            Self::NotLive { .. } | Self::PrivateDisks { .. } | Self::Timeout { .. } => None,
        }
    }

    /// Whether QEMU refused to start, so no migration runs.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Migration(MigrationError::Execute(error)) if error.reply().is_some())
    }
}
