//! Descriptors that go to the server with a command.

use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A descriptor for the server, or the path of a file that is opened for it,
/// read-only, when the command is sent.
#[derive(Debug)]
pub struct Passed(What);

#[derive(Debug)]
enum What {
    Descriptor(OwnedFd),
    Path(PathBuf),
}

impl Passed {
    pub(super) fn open(self) -> Result<OwnedFd, (PathBuf, io::Error)> {
        match self.0 {
            What::Descriptor(descriptor) => Ok(descriptor),
            What::Path(path) => match File::open(&path) {
                Ok(file) => Ok(file.into()),
                Err(error) => Err((path, error)),
            },
        }
    }
}

impl From<&Path> for Passed {
    fn from(path: &Path) -> Self {
        Self(What::Path(path.to_owned()))
    }
}

impl From<PathBuf> for Passed {
    fn from(path: PathBuf) -> Self {
        Self(What::Path(path))
    }
}

macro_rules! passed_from {
    ($($type:ty),*) => {$(
        impl From<$type> for Passed {
            fn from(descriptor: $type) -> Self {
                Self(What::Descriptor(descriptor.into()))
            }
        }
    )*};
}

passed_from!(
    OwnedFd,
    File,
    UnixStream,
    UnixListener,
    TcpStream,
    TcpListener,
    io::PipeReader,
    io::PipeWriter
);
