//! A person's terminal: shared descriptors, which keep their state.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

use qemu_qmp_engine as engine;

use super::restore::{self, Change};
use crate::sys;

/// One direction of a terminal. Reads and writes return at once.
#[derive(Debug)]
pub(super) struct Line {
    file: File,
    /// A regular file, which never makes a caller wait.
    is_regular: bool,
    /// Reads and writes were changed for all processes that share the file.
    _change: Option<Change>,
}

/// The direction of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Input,
    Output,
}

impl Line {
    /// Whether an operation waits is a property of the open file. A shell, its
    /// other programs and this program's own output share that file. So a
    /// terminal or pipe is opened a second time. If that fails (a socket, another
    /// user's terminal), the shared file is changed until this is dropped.
    pub(super) fn open(descriptor: &OwnedFd, direction: Direction) -> io::Result<Self> {
        let file = File::from(descriptor.try_clone()?);
        let data = file.metadata()?;
        let kind = data.file_type();
        // A pseudo-terminal's master would open as a new terminal.
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

    /// Waits for input, and reads it. Runs on the engine.
    pub(super) async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if !self.is_regular {
                ready(engine::readable(self.file.as_fd()).await)?;
            }
            match sys::unstopped(|| io::Read::read(&mut &self.file, buffer)) {
                Err(error) if is_passing(&error) => {}
                // A terminal that was hung up fails so. A terminal also fails so
                // for a program in its background.
                Err(error)
                    if error.raw_os_error() == Some(libc::EIO) && !self.is_in_background() =>
                {
                    return Ok(0);
                }
                read => return read,
            }
        }
    }

    /// Whether this program is in the background of this terminal.
    pub(super) fn is_in_background(&self) -> bool {
        sys::is_in_background(&self.file)
    }

    /// Writes as many bytes as fit now.
    pub(super) fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        match sys::unstopped(|| io::Write::write(&mut &self.file, bytes)) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            written => written,
        }
    }

    /// Waits until bytes can be written. Runs on the engine.
    pub(super) async fn writable(&self) -> io::Result<()> {
        ready(engine::writable(self.file.as_fd()).await)
    }
}

impl AsFd for Line {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A file that cannot be waited for, such as `/dev/null`, is always ready.
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
