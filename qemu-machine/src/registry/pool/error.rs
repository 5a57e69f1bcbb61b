//! Why the owner of a pool did not do what a client asked for.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::error::ErrorKind;

/// An operation on a published pool failed.
#[derive(Clone)]
#[non_exhaustive]
pub enum PoolError {
    /// The pool has ended.
    Ended {
        /// The name of the pool.
        name: String,
    },
    /// The owner could not do it, such as make a clone when none was ready.
    Refused {
        /// The name of the pool.
        name: String,
        /// The owner's reason.
        reason: String,
    },
    /// The owner did not answer in time.
    Timeout {
        /// The name of the pool.
        name: String,
        /// The deadline.
        limit: Duration,
    },
    /// The owner cannot be reached, or its answer has an unexpected form.
    Io {
        /// The name of the pool.
        name: String,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
}

impl PoolError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Ended { .. } => ErrorKind::Ended,
            Self::Refused { .. } => ErrorKind::Refused,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Io { cause, .. } => ErrorKind::of_io(cause),
        }
    }

    /// The error of the system behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Io { cause, .. } => Some(cause),
            _ => None,
        }
    }
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { name } => write!(f, "pool '{name}' has ended"),
            Self::Refused { name, reason } => write!(f, "pool '{name}': {reason}"),
            Self::Timeout { name, limit } => write!(
                f,
                "pool '{name}': its owner did not answer within {limit:?}"
            ),
            Self::Io { name, cause } => {
                write!(f, "pool '{name}': cannot ask its owner: {cause}")
            }
        }
    }
}

impl Error for PoolError {}
