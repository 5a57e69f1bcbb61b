//! Why a template could not be made or opened.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::error::ErrorKind;

use crate::launch::LaunchError;
use crate::machine::ShutdownError;
use crate::machine::migration::MoveError;
use crate::registry::RegistryError;

/// A template could not be made or opened.
#[derive(Clone)]
#[non_exhaustive]
pub enum TemplateError {
    /// The machine was launched without
    /// [`freezable`](crate::MachineBuilder::freezable), so its memory is not in
    /// a file.
    NotFreezable {
        /// The machine's name.
        machine: String,
    },
    /// The guest could not be saved. It resumes its earlier state.
    Save(MoveError),
    /// The guest was saved, but its QEMU did not end.
    Shutdown(ShutdownError),
    /// The machine of which a template is made was not launched.
    Launch(LaunchError),
    /// The caller's set-up of the guest, or the warm-up of a clone, failed.
    SetUp(Arc<dyn Error + Send + Sync>),
    /// The template was not made in time, by this process or by another that
    /// was making it.
    Timeout {
        /// The deadline.
        limit: Duration,
    },
    /// A file of the template cannot be made, moved or read.
    File {
        /// What was done with it.
        action: &'static str,
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// A file that the guest was launched from has changed since, so a clone
    /// would not be that guest. The guest goes on.
    InputChanged {
        /// QEMU, a file that the guest boots from, or an image below a disk.
        path: PathBuf,
    },
    /// A device or a medium of the guest has changed since the launch, by a
    /// command on the monitor. A clone would not have that change. The guest
    /// goes on.
    HardwareChanged {
        /// What has changed.
        change: String,
    },
    /// The directory has no template that can be used.
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// Some templates of a store could not be removed.
    NotPruned {
        /// The keys of those that were removed.
        removed: Vec<String>,
        /// Why the others were not: one error for each.
        failures: Vec<Self>,
    },
    /// The pool ended before the clone was ready.
    PoolEnded,
    /// The pool cannot be published.
    Publish(RegistryError),
    /// The store has no template of this name or key.
    NotFound {
        /// The name or key.
        name: String,
        /// The directory of the store.
        store: PathBuf,
        /// The names or keys of the templates that it has.
        names: Vec<String>,
    },
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFreezable { machine } => write!(
                f,
                "machine '{machine}': cannot freeze its guest, because its memory is not in a \
                 file; call `freezable` on its builder, also if it is a template's"
            ),
            Self::Save(cause) => write!(f, "{cause}"),
            Self::Shutdown(cause) => write!(f, "{cause}"),
            Self::Launch(cause) => write!(f, "{cause}"),
            Self::PoolEnded => f.write_str("the pool ended before the clone was ready"),
            Self::Publish(cause) => write!(f, "{cause}"),
            Self::SetUp(cause) => write!(f, "the set-up failed: {cause}"),
            Self::Timeout { limit } => write!(f, "the template was not made within {limit:?}"),
            Self::File {
                action,
                path,
                cause,
            } => write!(f, "cannot {action} {}: {cause}", path.display()),
            Self::InputChanged { path } => write!(
                f,
                "cannot freeze the guest, because {} has changed since its launch; launch the \
                 machine again",
                path.display()
            ),
            Self::HardwareChanged { change } => write!(
                f,
                "cannot freeze the guest, because {change} since its launch, and a clone would \
                 not have that; undo it, or launch a machine that has it from the start"
            ),
            Self::Unusable { path, reason } => {
                write!(f, "no usable template in {}: {reason}", path.display())
            }
            Self::NotPruned { failures, .. } => {
                let all: Vec<String> = failures.iter().map(ToString::to_string).collect();
                f.write_str(&all.join("; "))
            }
            Self::NotFound { name, store, names } => {
                let (name, store) = (name.escape_debug(), store.display());
                write!(f, "there is no template '{name}' in {store}; ")?;
                if names.is_empty() {
                    f.write_str("there is none at all")
                } else {
                    write!(f, "there are: {}", names.join(", "))
                }
            }
        }
    }
}

impl Error for TemplateError {}

impl TemplateError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFreezable { .. } => ErrorKind::InvalidInput,
            Self::Save(cause) => cause.kind(),
            Self::Shutdown(cause) => cause.kind(),
            Self::Launch(cause) => cause.kind(),
            Self::PoolEnded => ErrorKind::Ended,
            Self::Publish(cause) => cause.kind(),
            Self::SetUp(_) => ErrorKind::Refused,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::File { cause, .. } => ErrorKind::of_io(cause),
            Self::InputChanged { .. } | Self::HardwareChanged { .. } | Self::Unusable { .. } => {
                ErrorKind::Unsupported
            }
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::NotPruned { failures, .. } => {
                failures.first().map_or(ErrorKind::System, Self::kind)
            }
        }
    }

    /// The error of the system behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Save(cause) => cause.io_error(),
            Self::File { cause, .. } => Some(cause),
            Self::Launch(cause) => cause.io_error(),
            Self::NotPruned { failures, .. } => failures.first().and_then(Self::io_error),
            Self::Publish(cause) => cause.io_error(),
            Self::NotFreezable { .. }
            | Self::PoolEnded
            | Self::Shutdown(_)
            | Self::SetUp(_)
            | Self::Timeout { .. }
            | Self::InputChanged { .. }
            | Self::HardwareChanged { .. }
            | Self::Unusable { .. }
            | Self::NotFound { .. } => None,
        }
    }
}

impl From<MoveError> for TemplateError {
    fn from(error: MoveError) -> Self {
        Self::Save(error)
    }
}
