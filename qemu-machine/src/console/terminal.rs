//! What a person sits at: descriptors that are not ours alone, and are left as
//! they were.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};

use qemu_qmp::engine;

use super::given_back::{self, Change};

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
            given_back::nonblocking(&file)?
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
