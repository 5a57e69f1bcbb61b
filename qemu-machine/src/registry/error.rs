//! Why a machine was not published, or not found.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use qemu_qmp::error::ErrorKind;

/// The registry of published machines failed. Each message says what to do.
#[derive(Clone)]
#[non_exhaustive]
pub enum RegistryError {
    /// A living machine has this name.
    NameTaken {
        /// The name.
        name: String,
        /// The process that owns the machine; `None` if it is not known.
        owner_pid: Option<u32>,
    },
    /// A living pool has this name.
    PoolNameTaken {
        /// The name.
        name: String,
        /// The process that owns the pool; `None` if it is not known.
        owner_pid: Option<u32>,
    },
    /// The name cannot be the name of a folder or of a socket in it.
    Name {
        /// What it names: `machine`, `console` or `pool`.
        what: &'static str,
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// The path of a socket would be longer than the system allows.
    PathTooLong {
        /// The path.
        path: PathBuf,
        /// The greatest number of bytes in a socket's path.
        limit_bytes: usize,
    },
    /// The registry's directory is not private to this user.
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A directory, file or socket is not available.
    File {
        /// What was done with it.
        action: &'static str,
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// No living machine has this name.
    NotFound {
        /// The name.
        name: String,
        /// The names of the living machines, sorted.
        names: Vec<String>,
    },
    /// No living pool has this name.
    NoPool {
        /// The name.
        name: String,
        /// The names of the living pools, sorted.
        names: Vec<String>,
    },
}

impl RegistryError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NameTaken { .. }
            | Self::PoolNameTaken { .. }
            | Self::Name { .. }
            | Self::PathTooLong { .. } => ErrorKind::InvalidInput,
            Self::NotPrivate { .. } => ErrorKind::PermissionDenied,
            Self::File { cause, .. } => ErrorKind::of_io(cause),
            Self::NotFound { .. } | Self::NoPool { .. } => ErrorKind::NotFound,
        }
    }

    /// The error of the system behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::File { cause, .. } => Some(cause),
            _ => None,
        }
    }

    pub(super) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::File {
            action,
            path,
            cause: Arc::new(cause),
        }
    }
}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameTaken { name, owner_pid } => {
                let name = name.escape_debug();
                write!(f, "a machine with the name '{name}' is running")?;
                if let Some(pid) = owner_pid {
                    write!(f, ", owned by process {pid}")?;
                }
                f.write_str("; end that machine or choose another name")
            }
            Self::PoolNameTaken { name, owner_pid } => {
                write!(f, "a pool with the name '{name}' is running")?;
                if let Some(pid) = owner_pid {
                    write!(f, ", owned by process {pid}")?;
                }
                f.write_str("; stop that pool or choose another name")
            }
            Self::NoPool { name, names } if names.is_empty() => {
                write!(f, "no pool with the name '{name}': no pool runs")
            }
            Self::NoPool { name, names } => write!(
                f,
                "no pool with the name '{name}'; the running ones are: {}",
                names.join(", ")
            ),
            Self::Name { what, name, reason } => write!(
                f,
                "a {what} cannot be published by the name '{}': {reason}; choose another name",
                name.escape_debug()
            ),
            Self::PathTooLong { path, limit_bytes } => write!(
                f,
                "the path {} has {} bytes, and a socket's path has {limit_bytes} at most; choose \
                 a shorter name, or set XDG_RUNTIME_DIR to a shorter directory",
                path.display(),
                path.as_os_str().len()
            ),
            Self::NotPrivate { path, reason } => write!(
                f,
                "the directory {} {reason}, so machines cannot be published there; remove it, or \
                 set XDG_RUNTIME_DIR to a directory of yours with mode 0700",
                path.display()
            ),
            Self::File {
                action,
                path,
                cause,
            } => {
                write!(f, "cannot {action} {}: {cause}", path.display())?;
                if *action == MAKE_DIRECTORY {
                    f.write_str(
                        "; set XDG_RUNTIME_DIR to a directory of yours with mode 0700, where you \
                         can write",
                    )?;
                }
                Ok(())
            }
            Self::NotFound { name, names } if names.is_empty() => {
                write!(
                    f,
                    "no machine with the name '{}': no published machine runs",
                    name.escape_debug()
                )
            }
            Self::NotFound { name, names } => write!(
                f,
                "no machine with the name '{}'; the running ones are: {}",
                name.escape_debug(),
                names.join(", ")
            ),
        }
    }
}

impl Error for RegistryError {}

/// The action of a [`RegistryError::File`] that another place can do.
pub(super) const MAKE_DIRECTORY: &str = "make the directory";
