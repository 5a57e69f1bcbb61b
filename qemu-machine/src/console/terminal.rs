//! What a person sits at: descriptors that are not ours alone, and are left as
//! they were.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

use qemu_qmp_engine as engine;

use super::restore::{self, Change};
use crate::sys;

/// One direction of it, whose reads and writes return at once.
#[derive(Debug)]
pub(super) struct Line {
    file: File,
    /// It never has anything wait.
    is_regular: bool,
    /// It was made so for all who share it.
    _change: Option<Change>,
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
                    _change: None,
                });
            }
        }
        let change = if kind.is_file() {
            None
        } else {
            restore::nonblocking(&file)?
        };
        Ok(Self {
            file,
            is_regular: kind.is_file(),
            _change: change,
        })
    }

    /// Waits until there is something to read, or to be read by, and tries.
    /// Runs on the engine.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_regular {
                ready(engine::readable(self.file.as_fd()).await)?;
            }
            match sys::unstopped(|| io::Read::read(&mut &self.file, buffer)) {
                Err(error) if is_passing(&error) => {}
                // How a terminal that was hung up says that it has ended; and one
                // in whose background we are, that it is not ours to read.
                Err(error)
                    if error.raw_os_error() == Some(libc::EIO) && !self.is_in_background() =>
                {
                    return Ok(0);
                }
                read => return read,
            }
        }
    }

    /// Whether it is our terminal, and we are in its background.
    pub(super) fn is_in_background(&self) -> bool {
        sys::is_in_background(&self.file)
    }

    /// Writes what can be written now.
    pub(super) fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        match sys::unstopped(|| io::Write::write(&mut &self.file, bytes)) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            written => written,
        }
    }

    /// Waits until something can be written. Runs on the engine.
    pub(super) async fn writable(&self) -> io::Result<()> {
        ready(engine::writable(self.file.as_fd()).await)
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
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
