//! Descriptors that are passed to the server with a command.

use std::fs::File;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A descriptor to pass to the server: a file, a socket, a pipe, or a path. A
/// path is opened read-only when the command is sent.
#[derive(Debug)]
pub struct PassedFd(Source);

#[derive(Debug)]
enum Source {
    Descriptor(OwnedFd),
    Path(PathBuf),
}

impl PassedFd {
    pub(super) fn open(self) -> Result<OwnedFd, (PathBuf, io::Error)> {
        match self.0 {
            Source::Descriptor(descriptor) => Ok(descriptor),
            Source::Path(path) => match File::open(&path) {
                Ok(file) => Ok(file.into()),
                Err(error) => Err((path, error)),
            },
        }
    }
}

impl From<&Path> for PassedFd {
    fn from(path: &Path) -> Self {
        Self(Source::Path(path.to_owned()))
    }
}

impl From<PathBuf> for PassedFd {
    fn from(path: PathBuf) -> Self {
        Self(Source::Path(path))
    }
}

macro_rules! from_descriptor {
    ($($type:ty),*) => {$(
        impl From<$type> for PassedFd {
            fn from(descriptor: $type) -> Self {
                Self(Source::Descriptor(descriptor.into()))
            }
        }
    )*};
}

from_descriptor!(
    OwnedFd,
    File,
    UnixStream,
    UnixListener,
    TcpStream,
    TcpListener,
    io::PipeReader,
    io::PipeWriter
);
