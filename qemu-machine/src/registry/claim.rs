//! A machine's folder, and who owns it.
//!
//! The owner holds a lock on the file `lock` in the folder, and the kernel
//! releases it however the owner ends. So a folder whose lock is free has no
//! owner. A process that only looks takes a shared lock for that moment.
//!
//! ```text
//!          mkdir, open, lock         the same file is still there
//! (none) ---------------------> (locked) -----------------------> owned
//!    ^                             | another file, or none            |
//!    |                             `-> again from the start           |
//!    `---- remove: the content, then the lock's file, then the folder-'
//! ```
//!
//! Never removes anything without the lock of its folder, and never what no owner
//! makes: a folder that has anything else, or is a link, stays as it is.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant};

use qemu_qmp_engine as engine;

use super::error::MAKE_DIRECTORY;
use super::{RegistryError, entry};
use crate::sys;

/// A folder that this process owns. A drop removes it.
#[derive(Debug)]
pub(super) struct Claim {
    folder: PathBuf,
    lock: File,
    is_removed: bool,
    /// A fork has a copy of the claim, and must not remove the folder.
    process: u32,
}

/// What became of an attempt to own a folder.
enum Attempt {
    Owned(File),
    /// Another process holds the lock. It wrote this about itself, or nothing yet.
    Held(Option<Writer>),
    /// The folder was removed during the attempt.
    Gone,
}

impl Claim {
    /// Makes the folder of a machine in this directory, or takes over the folder
    /// of a dead owner.
    ///
    /// # Errors
    /// [`RegistryError::NameTaken`] if a living process owns it.
    pub(super) async fn take(directory: &Path, name: &str) -> Result<Self, RegistryError> {
        let folder = directory.join(name);
        let begun = Instant::now();
        loop {
            let made = DirBuilder::new().mode(0o700).create(&folder);
            match made {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(RegistryError::file(MAKE_DIRECTORY, &folder)(error));
                }
                _ => {}
            }
            let failed = RegistryError::file("lock", folder.join(LOCK));
            match attempt(&folder).map_err(failed)? {
                Attempt::Owned(lock) => {
                    let claim = Self::of(folder, lock);
                    claim.begin()?;
                    return Ok(claim);
                }
                Attempt::Held(owner)
                    if owner.is_some_and(Writer::lives) || begun.elapsed() > PATIENCE =>
                {
                    let owner = owner.filter(|owner| owner.lives());
                    return Err(RegistryError::NameTaken {
                        name: name.to_owned(),
                        owner_pid: owner.map(|owner| owner.pid),
                    });
                }
                // A sweep holds it for a moment, or a claim that has not written
                // its process id yet. Neither can notify this one.
                Attempt::Held(_) => engine::pause(PACE).await,
                Attempt::Gone => {}
            }
        }
    }

    /// The folder of a dead owner. `None` if a process holds it, or it is gone.
    ///
    /// # Errors
    /// It is not the folder of an owner. An owner's lock is removed last, so a
    /// folder without one has nothing else.
    pub(super) fn of_dead(folder: &Path) -> io::Result<Option<Self>> {
        if !has_lock(folder)? {
            missing_is_fine(fs::remove_dir(folder))?;
            return Ok(None);
        }
        Ok(match attempt(folder)? {
            Attempt::Owned(lock) => Some(Self::of(folder.to_owned(), lock)),
            Attempt::Held(_) | Attempt::Gone => None,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Removes the folder. The name is free then.
    pub(super) fn remove(&mut self) -> io::Result<()> {
        self.is_removed = true;
        self.empty()?;
        missing_is_fine(fs::remove_file(self.folder.join(LOCK)))?;
        match fs::remove_dir(&self.folder) {
            // The next owner has it already.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => missing_is_fine(removed),
        }
    }

    fn of(folder: PathBuf, lock: File) -> Self {
        Self {
            folder,
            lock,
            is_removed: false,
            process: process::id(),
        }
    }

    /// Removes what a dead owner left, and writes the owner.
    fn begin(&self) -> Result<(), RegistryError> {
        let emptied = self.empty();
        emptied.map_err(RegistryError::file("empty", &self.folder))?;
        let write = || {
            self.lock.set_len(0)?;
            let started = start_time(self.process).unwrap_or_default();
            (&self.lock).write_all(format!("{} {started}\n", self.process).as_bytes())
        };
        write().map_err(RegistryError::file("write", self.folder.join(LOCK)))
    }

    /// Removes everything but the lock's file: all of it or, if something is not
    /// an owner's, nothing.
    fn empty(&self) -> io::Result<()> {
        for path in owners_files(&self.folder)? {
            missing_is_fine(fs::remove_file(path))?;
        }
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_removed && self.process == process::id() {
            // If it cannot be removed now, a later sweep removes it.
            let _ = self.remove();
        }
    }
}

/// Whether a process owns this folder.
pub(super) fn is_owned(folder: &Path) -> bool {
    if !has_lock(folder).unwrap_or_default() {
        return false;
    }
    let options = || {
        let mut options = File::options();
        options.read(true).custom_flags(libc::O_NOFOLLOW);
        options
    };
    let Ok(lock) = options().open(folder.join(LOCK)) else {
        return false;
    };
    matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn attempt(folder: &Path) -> io::Result<Attempt> {
    // Before it gets a lock: a folder of somebody else stays as it is.
    match owners_files(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Attempt::Gone),
        found => found?,
    };
    let path = folder.join(LOCK);
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let opened = options
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path);
    let lock = match opened {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Attempt::Gone),
        Err(error) => return Err(error),
    };
    if !lock_alone(&lock)? {
        return Ok(Attempt::Held(Writer::of(&lock)));
    }
    let opened = lock.metadata()?;
    match fs::symlink_metadata(&path) {
        Ok(named) if (named.dev(), named.ino()) == (opened.dev(), opened.ino()) => {
            Ok(Attempt::Owned(lock))
        }
        Ok(_) => Ok(Attempt::Gone),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Attempt::Gone),
        Err(error) => Err(error),
    }
}

/// All that an owner has made in this folder, without the lock's file.
///
/// # Errors
/// It is a link or no directory, or something in it is not an owner's.
fn owners_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    // `read_dir` would follow a link, to a directory of anything.
    if !fs::symlink_metadata(folder)?.is_dir() {
        return Err(io::Error::new(
            io::ErrorKind::NotADirectory,
            "it is not a directory; remove it or choose another name",
        ));
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = match entry.file_type() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            kind => kind?,
        };
        if kind.is_file() && name == OsStr::new(LOCK) {
            continue;
        }
        let is_owners = kind.is_socket() || kind.is_file() && is_owners_file(&name);
        if !is_owners {
            return Err(io::Error::other(format!(
                "{} in it is not of a machine; remove that folder or choose another name",
                name.display()
            )));
        }
        files.push(entry.path());
    }
    Ok(files)
}

/// Whether an owner makes a file, which is no socket, of this name.
fn is_owners_file(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    entry::FILES.iter().any(|it| it.as_bytes() == name) || name.starts_with(TURN.as_bytes())
}

/// Whether the folder, which is no link, has the file of a lock.
fn has_lock(folder: &Path) -> io::Result<bool> {
    let is = |path: &Path, is: fn(&fs::Metadata) -> bool| match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        found => found.map(|it| is(&it)),
    };
    // Opening a pipe would wait for its writer.
    Ok(is(folder, fs::Metadata::is_dir)? && is(&folder.join(LOCK), fs::Metadata::is_file)?)
}

/// Locks the file, unless another process owns it. A process that looks has a
/// shared lock for a few system calls, and is passed over.
fn lock_alone(lock: &File) -> io::Result<bool> {
    for _ in 0..LOOKS {
        match lock.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match lock.try_lock_shared() {
            Ok(()) => lock.unlock()?,
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        std::thread::yield_now();
    }
    Ok(false)
}

/// The living process that owns this folder: its descriptor. `None` if nobody
/// does, or if it is in another container.
pub(super) fn owner(folder: &Path) -> Option<OwnedFd> {
    let mut options = File::options();
    let options = options.read(true).custom_flags(libc::O_NOFOLLOW);
    let writer = Writer::of(&options.open(folder.join(LOCK)).ok()?)?;
    let process = sys::open_process(writer.pid).ok()?;
    // Only now is the descriptor that of the process that wrote the file.
    (writer.lives() && is_owned(folder)).then_some(process)
}

/// The process that wrote the lock's file. A later process may have its id, but
/// not its start time too: in a container, process 1 comes again and again.
#[derive(Debug, Clone, Copy)]
struct Writer {
    pid: u32,
    started: u64,
}

impl Writer {
    fn of(lock: &File) -> Option<Self> {
        let mut text = String::new();
        let mut lock = lock.take(64);
        lock.read_to_string(&mut text).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some(Self {
            pid: pid.parse().ok()?,
            started: started.parse().ok()?,
        })
    }

    fn lives(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

/// When a process started, in the kernel's ticks (`proc_pid_stat(5)`); `None` if it
/// has ended.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may contain anything.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}

fn missing_is_fine(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// The file in a folder whose lock the owner holds.
const LOCK: &str = "lock";

/// The start of the names of files that the command's users of a console lock.
const TURN: &str = "use-console";

/// How often a lock is tried while others look at it.
const LOOKS: u32 = 1000;

/// The pause between two attempts while a sweep holds the lock.
const PACE: Duration = Duration::from_millis(1);

/// How long a holder that is no living owner is waited for. It may be in another
/// container, so that its process id says nothing here.
const PATIENCE: Duration = Duration::from_secs(2);
