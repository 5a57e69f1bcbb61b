//! The file of a saved guest.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::MoveError;

/// A file, and its context for errors.
#[derive(Debug)]
pub(super) struct SavedFile {
    pub(super) file: File,
    path: PathBuf,
    machine: String,
    action: &'static str,
}

impl SavedFile {
    /// Opens a file for a guest, and keeps its content.
    pub(super) fn create(machine: &str, path: PathBuf) -> Result<Self, MoveError> {
        let mut new = File::options();
        let options = new.read(true).write(true).create(true).truncate(false);
        Self::new(machine, "write", path, options)
    }

    /// Opens a file with a saved guest.
    pub(super) fn open(machine: &str, path: PathBuf) -> Result<Self, MoveError> {
        Self::new(machine, "read", path, File::options().read(true))
    }

    fn new(
        machine: &str,
        action: &'static str,
        path: PathBuf,
        options: &mut OpenOptions,
    ) -> Result<Self, MoveError> {
        let machine = machine.to_owned();
        match open(&path, options) {
            Ok(file) => Ok(Self {
                file,
                path,
                machine,
                action,
            }),
            Err(cause) => Err(MoveError::File {
                machine,
                action,
                path,
                cause: Arc::new(cause),
            }),
        }
    }

    /// Removes the content of the file.
    pub(super) fn empty(&self) -> Result<(), MoveError> {
        let empty = || {
            if self.file.metadata()?.is_file() {
                self.file.set_len(0)?;
            }
            Ok(())
        };
        empty().map_err(|cause| self.error(cause))
    }

    /// Another descriptor of the file, for QEMU. Both share one position in the
    /// file.
    pub(super) fn for_qemu(&self) -> Result<File, MoveError> {
        self.file.try_clone().map_err(|cause| self.error(cause))
    }

    /// Makes an error of an error of the system.
    pub(super) fn error(&self, cause: io::Error) -> MoveError {
        MoveError::File {
            machine: self.machine.clone(),
            action: self.action,
            path: self.path.clone(),
            cause: Arc::new(cause),
        }
    }
}

/// Opens a file or a device. A pipe or socket is refused: the open would block
/// until another process has the other end, and QEMU could take an early end
/// for the end of the guest. A directory can be opened, but not read.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let opened = options.custom_flags(libc::O_NONBLOCK).open(path);
    let kind = match &opened {
        Ok(file) => file.metadata(),
        Err(_) => path.metadata(),
    };
    match kind.map(|kind| kind.file_type()) {
        Ok(kind) if kind.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(kind) if kind.is_fifo() || kind.is_socket() => Err(io::Error::other(
            "it is a pipe or a socket, not a file or a device",
        )),
        _ => opened,
    }
}
