//! A machine's guest that goes to another machine, or to a file and back.

use std::error::Error;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::future::{Future, IntoFuture};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use qemu_qmp::engine::Elapsed;
use qemu_qmp::{Client, MigrationError, MigrationReport};

use crate::Machine;

/// Moves a guest; made by [`Machine::migrate_to`], [`Machine::save_to`] and
/// [`Machine::load_from`].
///
/// # Errors
/// Each variant of [`MoveError`] says when.
///
/// # Cancel safety
/// If the future is dropped after it was polled, what was started goes on.
#[derive(Debug)]
#[must_use = "nothing is moved until awaited or waited for"]
pub struct Move {
    machine: Machine,
    way: Way,
    timeout: Option<Duration>,
}

#[derive(Debug)]
enum Way {
    To(Machine),
    IntoFile(PathBuf),
    FromFile(PathBuf),
}

/// A guest was not moved.
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
    /// No descriptor is left for a socket between the two.
    Socket {
        /// The machine's name.
        machine: String,
        /// What the system says.
        cause: io::Error,
    },
    /// It took too long, and goes on.
    Timeout {
        /// The machine's name.
        machine: String,
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
            } => write!(
                f,
                "machine '{machine}': cannot {action} {}: {cause}",
                path.display()
            ),
            Self::Socket { machine, cause } => write!(
                f,
                "machine '{machine}': cannot be connected with the other: {cause}"
            ),
            Self::Timeout { machine, limit } => write!(
                f,
                "machine '{machine}': its guest has not moved within {limit:?}"
            ),
        }
    }
}

impl Error for MoveError {}

impl Machine {
    /// Moves the guest to another machine, which was launched
    /// [to take it in](crate::MachineBuilder::incoming) and is like this one
    /// otherwise. It stands still here then, and goes on there.
    ///
    /// If that fails, it goes on here. The other machine, which has waited for
    /// it, is of no more use and ends itself then, as one that failed: its
    /// [report](Self::exited) has QEMU's words. Only where it refused to wait
    /// for a guest at all it stays as it is.
    ///
    /// Over a socket of theirs alone; the monitors must not be on TCP.
    pub fn migrate_to(&self, other: &Machine) -> Move {
        self.moved(Way::To(other.clone()))
    }

    /// Saves the guest with its memory to a file, to go on from there by
    /// [`load_from`](Self::load_from), as often as wanted. It stands still then;
    /// `cont` has it go on here too. What was in the file is lost, also where
    /// the guest cannot be saved.
    ///
    /// It is a regular file or a device. For a pipe or a socket see
    /// [`Client::migrate_over`](crate::qmp::Client::migrate_over).
    ///
    /// Of its disks nothing is saved: for them see snapshots of theirs.
    pub fn save_to(&self, path: impl AsRef<Path>) -> Move {
        self.moved(Way::IntoFile(path.as_ref().to_owned()))
    }

    /// Takes in a guest that [`save_to`](Self::save_to) has saved. The machine
    /// was launched [for that](crate::MachineBuilder::incoming), and is like the
    /// one that it was saved of otherwise.
    ///
    /// A machine that cannot take in what is in the file ends itself, as one
    /// that failed. If there is no such file, or it is none and no device, the
    /// machine waits as before.
    pub fn load_from(&self, path: impl AsRef<Path>) -> Move {
        self.moved(Way::FromFile(path.as_ref().to_owned()))
    }

    fn moved(&self, way: Way) -> Move {
        Move {
            machine: self.clone(),
            way,
            timeout: self.deadlines().limit(),
        }
    }
}

impl Move {
    /// Waits no longer than this instead of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits as long as the machines live.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }
}

impl IntoFuture for Move {
    type Output = Result<MigrationReport, MoveError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self {
                machine,
                way,
                timeout,
            } = self;
            let moved = carry(&machine, way);
            match machine.deadlines().timeout(timeout, moved).await {
                Ok(moved) => moved,
                Err(Elapsed(limit)) => Err(MoveError::Timeout {
                    machine: machine.name().to_owned(),
                    limit,
                }),
            }
        })
    }
}

async fn carry(machine: &Machine, way: Way) -> Result<MigrationReport, MoveError> {
    let qmp = machine.qmp();
    match way {
        Way::To(other) => {
            let (ours, theirs) = UnixStream::pair().map_err(|cause| MoveError::Socket {
                machine: machine.name().to_owned(),
                cause,
            })?;
            migrate(qmp, ours, other.qmp(), theirs).await
        }
        Way::IntoFile(path) => {
            let mut new = File::options();
            let file = file(
                machine,
                "write",
                path,
                new.write(true).create(true).truncate(true),
            )?;
            let saved = qmp.migrate_over(file).no_timeout().await;
            saved.map_err(MoveError::Migration)
        }
        Way::FromFile(path) => {
            let file = file(machine, "read", path, File::options().read(true))?;
            let incoming = qmp.migrate_incoming_over(file).no_timeout().await;
            let incoming = incoming.map_err(MoveError::Migration)?;
            let loaded = incoming.completed().no_timeout().await;
            loaded.map_err(MoveError::Migration)
        }
    }
}

async fn migrate(
    from: &Client,
    ours: UnixStream,
    to: &Client,
    theirs: UnixStream,
) -> Result<MigrationReport, MoveError> {
    let incoming = to.migrate_incoming_over(theirs).no_timeout().await;
    let incoming = incoming.map_err(MoveError::Migration)?;
    let sent = from.migrate_over(ours).no_timeout().await;
    let report = sent.map_err(MoveError::Migration)?;
    let arrived = incoming.completed().no_timeout().await;
    arrived.map_err(MoveError::Migration)?;
    Ok(report)
}

fn file(
    machine: &Machine,
    action: &'static str,
    path: PathBuf,
    options: &mut OpenOptions,
) -> Result<File, MoveError> {
    open(&path, options).map_err(|cause| MoveError::File {
        machine: machine.name().to_owned(),
        action,
        path,
        cause,
    })
}

/// Opens what a guest can be kept in. A pipe would be waited for, here until
/// somebody opens its other end, or by QEMU, which takes an end of nobody for
/// that of the guest; and a directory can be opened, but not read.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let opened = options.custom_flags(libc::O_NONBLOCK).open(path);
    let kind = match &opened {
        Ok(file) => file.metadata(),
        Err(_) => path.metadata(),
    };
    match kind.map(|kind| kind.file_type()) {
        Ok(kind) if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(kind) if kind.is_fifo() || kind.is_socket() => Err(io::Error::other(
            "it is a pipe or socket, and neither a file nor a device",
        )),
        _ => opened,
    }
}
