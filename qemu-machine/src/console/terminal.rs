//! What a person sits at: descriptors that are not ours alone, and are left as
//! they were.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use qemu_qmp::engine;

use crate::sys::{self, TerminalMode};

/// One direction of it, whose reads and writes return at once.
#[derive(Debug)]
pub(super) struct Line {
    file: File,
    /// It never has anything wait.
    is_regular: bool,
    /// It was made so for all who share it, and has to be made otherwise.
    is_switched: bool,
}

/// Which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Input,
    Output,
}

impl Line {
    /// That whether an operation waits is a property of the open file, which a
    /// shell, its other programs and our own output share. So a terminal or
    /// pipe is opened once more, for us alone; where that is not possible (a
    /// socket, a terminal of another user's) it is changed for all, until this
    /// is dropped.
    pub(super) fn open(descriptor: &OwnedFd, direction: Direction) -> io::Result<Self> {
        let file = File::from(descriptor.try_clone()?);
        let data = file.metadata()?;
        let kind = data.file_type();
        // The other end of a pseudo-terminal would be a new one.
        let is_master = kind.is_char_device() && data.rdev() == libc::makedev(5, 2);
        if (kind.is_char_device() || kind.is_fifo()) && !is_master {
            let reopened = File::options()
                .read(direction == Direction::Input)
                .write(direction == Direction::Output)
                .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
                .open(format!("/proc/self/fd/{}", file.as_raw_fd()));
            if let Ok(file) = reopened {
                return Ok(Self {
                    file,
                    is_regular: false,
                    is_switched: false,
                });
            }
        }
        let is_switched = !kind.is_file() && !sys::set_nonblocking(&file, true)?;
        Ok(Self {
            file,
            is_regular: kind.is_file(),
            is_switched,
        })
    }

    /// Waits until there is something to read, or to be read by, and tries.
    /// Runs on the engine.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_regular {
                ready(engine::readable(self.file.as_fd()).await)?;
            }
            match io::Read::read(&mut &self.file, buffer) {
                Err(error) if is_passing(&error) => {}
                // How a terminal that was hung up says that it has ended.
                Err(error) if error.raw_os_error() == Some(libc::EIO) => return Ok(0),
                read => return read,
            }
        }
    }

    /// Writes all. Runs on the engine.
    pub(super) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match io::Write::write(&mut &self.file, bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_passing(&error) => {
                    ready(engine::writable(self.file.as_fd()).await)?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a byte, if that can be done now.
    pub(super) fn offer(&self, byte: u8) {
        // Where it cannot, nobody looks.
        let _ = io::Write::write(&mut &self.file, &[byte]);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.is_switched {
            let _ = sys::set_nonblocking(&self.file, false);
        }
    }
}

/// What cannot be waited for is always ready, such as `/dev/null`.
fn ready(waited: io::Result<()>) -> io::Result<()> {
    match waited {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        waited => waited,
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// A terminal in raw mode: every key goes to the guest. It gets its mode back
/// when this is dropped, or this process exits by itself.
#[derive(Debug)]
pub(super) struct RawMode {
    id: u64,
}

struct Changed {
    id: u64,
    process: u32,
    terminal: OwnedFd,
    before: TerminalMode,
}

impl RawMode {
    pub(super) fn enter(terminal: OwnedFd) -> io::Result<Self> {
        static AT_EXIT: Once = Once::new();
        AT_EXIT.call_once(|| sys::at_exit(restore_all));
        let before = TerminalMode::of(&terminal)?;
        let mut changed = changed();
        let id = changed.last().map_or(0, |last| last.id + 1);
        before.raw().set(&terminal)?;
        changed.push(Changed {
            id,
            process: std::process::id(),
            terminal,
            before,
        });
        Ok(Self { id })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        let mut changed = changed();
        if let Some(index) = changed.iter().position(|it| it.id == self.id) {
            changed.remove(index).restore();
        }
    }
}

impl Changed {
    fn restore(&self) {
        // A fork's copy must leave the parent's terminal be.
        if self.process == std::process::id() {
            // It fails only where the terminal is gone.
            let _ = self.before.set(&self.terminal);
        }
    }
}

extern "C" fn restore_all() {
    // Not locked: the thread that holds it may never go on.
    if let Ok(changed) = CHANGED.try_lock() {
        changed.iter().rev().for_each(Changed::restore);
    }
}

fn changed() -> MutexGuard<'static, Vec<Changed>> {
    CHANGED.lock().unwrap_or_else(PoisonError::into_inner)
}

static CHANGED: Mutex<Vec<Changed>> = Mutex::new(Vec::new());
