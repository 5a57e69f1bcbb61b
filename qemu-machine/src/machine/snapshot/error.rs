//! Why an operation on snapshots failed.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use qemu_qmp::error::{ExecuteError, JobError};

use qemu_qmp::error::ErrorKind;

/// An operation on snapshots failed.
#[derive(Clone)]
#[non_exhaustive]
pub struct SnapshotError {
    /// The machine's name.
    pub machine: String,
    /// What the operation did, such as `save snapshot 'booted'`.
    pub action: String,
    /// Why it failed.
    pub failure: Box<SnapshotFailure>,
}

/// Why an operation on snapshots failed. Only the last four can come after QEMU
/// started something.
#[derive(Clone)]
#[non_exhaustive]
pub enum SnapshotFailure {
    /// A snapshot cannot have this name, or cannot be loaded by it.
    Name {
        /// Why.
        reason: &'static str,
    },
    /// The guest has no writable disk.
    NoDisk,
    /// The guest has no writable disk with this node.
    NoSuchDisk {
        /// The name of the node.
        node: String,
    },
    /// These writable disks cannot store a snapshot.
    Disks {
        /// The name of each disk, and the driver of its node.
        disks: Vec<(String, String)>,
    },
    /// No disk has such a snapshot.
    NotFound {
        /// The names of the existing snapshots.
        existing: Vec<String>,
    },
    /// Some of the disks have no such snapshot.
    Lacking {
        /// The names of those disks.
        disks: Vec<String>,
    },
    /// The snapshot has only the disks, not the memory of the guest.
    NoMemory,
    /// The guest has released its disks: it was moved away, or is not there
    /// yet.
    Inactive {
        /// The run state, such as `postmigrate`.
        status: String,
    },
    /// QEMU refused a command, or did not answer.
    Execute(ExecuteError),
    /// The job of QEMU failed; the error has its message.
    Job(JobError),
    /// The deadline passed. The operation continues.
    Timeout {
        /// The deadline.
        limit: Duration,
    },
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            machine,
            action,
            failure,
        } = self;
        write!(f, "machine '{machine}': cannot {action}: {failure}")
    }
}

impl fmt::Display for SnapshotFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name { reason } => write!(f, "the name cannot be used: {reason}"),
            Self::NoDisk => f.write_str(
                "the machine has no writable disk to store the snapshot in: add a disk with the \
                 format qcow2",
            ),
            Self::NoSuchDisk { node } => {
                write!(f, "the machine has no writable disk with the node '{node}'")
            }
            Self::Disks { disks } => {
                let disks = disks
                    .iter()
                    .map(|(name, driver)| format!("'{name}' ({driver})"));
                let disks = disks.collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "these writable disks cannot store snapshots: {disks}; use the format qcow2, make \
                     them read-only, or select disks with 'disks()'"
                )
            }
            Self::NotFound { existing } if existing.is_empty() => {
                f.write_str("no disk has a snapshot")
            }
            Self::NotFound { existing } => {
                write!(
                    f,
                    "no disk has it; existing snapshots: '{}'",
                    existing.join("', '")
                )
            }
            Self::Lacking { disks } => {
                write!(f, "these disks do not have it: '{}'", disks.join("', '"))
            }
            Self::NoMemory => f.write_str("it has only the disks, not the memory of the guest"),
            Self::Inactive { status } => write!(
                f,
                "the guest has released its disks in the run state '{status}'; after a save, \
                 'cont' takes them back"
            ),
            Self::Execute(cause) => write!(f, "{cause}"),
            Self::Job(cause) => write!(f, "{cause}"),
            Self::Timeout { limit } => write!(
                f,
                "not done within {limit:?}; it continues in the background"
            ),
        }
    }
}

impl Error for SnapshotError {}
impl Error for SnapshotFailure {}

impl SnapshotError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }

    /// The error of the system behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.failure.io_error()
    }
}

impl SnapshotFailure {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name { .. } | Self::NoSuchDisk { .. } => ErrorKind::InvalidInput,
            Self::NoDisk | Self::Disks { .. } | Self::NoMemory => ErrorKind::Unsupported,
            Self::NotFound { .. } | Self::Lacking { .. } => ErrorKind::NotFound,
            Self::Inactive { .. } => ErrorKind::Refused,
            Self::Execute(cause) => cause.kind(),
            Self::Job(cause) => cause.kind(),
            Self::Timeout { .. } => ErrorKind::Timeout,
        }
    }

    /// The error of the system behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Execute(cause) => cause.io_error(),
            Self::Job(cause) => cause.io_error(),
            _ => None,
        }
    }
}

impl From<ExecuteError> for SnapshotFailure {
    fn from(error: ExecuteError) -> Self {
        Self::Execute(error)
    }
}
