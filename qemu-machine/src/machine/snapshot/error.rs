//! Why a snapshot was not saved, loaded, listed or deleted.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use qemu_qmp::{ExecuteError, JobError};

/// A snapshot was not saved, loaded, listed or deleted.
#[non_exhaustive]
pub struct SnapshotError {
    /// The machine's name.
    pub machine: String,
    /// What was asked for, such as `save snapshot 'booted'`.
    pub action: String,
    /// What went wrong.
    pub failure: Box<SnapshotFailure>,
}

/// Why a snapshot was not saved, loaded, listed or deleted. But for the last four,
/// nothing was started.
#[non_exhaustive]
pub enum SnapshotFailure {
    /// No snapshot can have this name, or be loaded by it.
    Name {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The guest has no writable disk.
    NoDisk,
    /// The guest has no writable disk with a node of this name.
    NoSuchDisk {
        /// The node that was asked for.
        node: String,
    },
    /// These writable disks cannot hold a snapshot.
    Disks {
        /// Each disk's name, and the driver of its node.
        disks: Vec<(String, String)>,
    },
    /// No disk has such a snapshot.
    NotFound {
        /// The snapshots that there are.
        known: Vec<String>,
    },
    /// Some of the disks have no such snapshot.
    Lacking {
        /// The names of those disks.
        disks: Vec<String>,
    },
    /// The snapshot is one of disks, without the guest's memory.
    NoMemory,
    /// The guest's disks are not its own: it has moved away, or is not there yet.
    Inactive {
        /// The run state, such as `postmigrate`.
        status: String,
    },
    /// A command was refused, or got no reply.
    Execute(ExecuteError),
    /// QEMU's job failed; the error has QEMU's words.
    Job(JobError),
    /// It took too long, and goes on.
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
                "it has no writable disk, and a snapshot is kept in one, with the guest's \
                 memory: add a disk of the format qcow2",
            ),
            Self::NoSuchDisk { node } => {
                write!(f, "it has no writable disk with the node '{node}'")
            }
            Self::Disks { disks } => {
                let disks = disks
                    .iter()
                    .map(|(name, driver)| format!("'{name}' ({driver})"));
                let disks = disks.collect::<Vec<_>>().join(", ");
                write!(
                    f,
                    "these writable disks cannot hold one: {disks}; use the format qcow2, make \
                     them read-only, or say by 'disks()' which disks to take"
                )
            }
            Self::NotFound { known } if known.is_empty() => f.write_str("no disk has any snapshot"),
            Self::NotFound { known } => {
                write!(f, "no disk has it, but these: '{}'", known.join("', '"))
            }
            Self::Lacking { disks } => {
                write!(f, "these disks do not have it: '{}'", disks.join("', '"))
            }
            Self::NoMemory => f.write_str("it has the disks alone, without the guest's memory"),
            Self::Inactive { status } => write!(
                f,
                "its disks are not in use in the run state '{status}'; 'cont' takes them back \
                 after a save"
            ),
            Self::Execute(cause) => write!(f, "{cause}"),
            Self::Job(cause) => write!(f, "{cause}"),
            Self::Timeout { limit } => write!(f, "it has not ended within {limit:?}, and goes on"),
        }
    }
}

impl Error for SnapshotError {}
impl Error for SnapshotFailure {}

impl From<ExecuteError> for SnapshotFailure {
    fn from(error: ExecuteError) -> Self {
        Self::Execute(error)
    }
}
