//! Listening for a server that connects to us.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{Connect, ConnectError, Peer, ServerAddress};
use qemu_qmp_engine as engine;

/// A socket that waits for one server to connect.
///
/// The path of a unix socket is removed when the listener is dropped, or has
/// accepted.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: ServerAddress,
    _path: Option<RemovedPath>,
}

impl Listener {
    /// Listens on a unix socket, whose path must not exist.
    ///
    /// # Errors
    /// [`ConnectError::Address`]: the path exists, is too long for the system
    /// (107 bytes on Linux), or its directory is not ours to write.
    pub fn unix(path: impl AsRef<Path>) -> Result<Self, ConnectError> {
        Self::bind(ServerAddress::Unix(path.as_ref().to_owned()))
    }

    /// Listens on a TCP address; port 0 has the system choose one.
    ///
    /// # Errors
    /// [`ConnectError::Address`]: the address is in use, or not ours.
    pub fn tcp(address: SocketAddr) -> Result<Self, ConnectError> {
        Self::bind(ServerAddress::Tcp(address))
    }

    /// Where the listener is to be reached; the port is the real one.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Waits for one server and makes it a [`Client`](crate::Client). Whoever
    /// else has connected meanwhile is dropped, with a warning in the log.
    pub fn accept(self) -> Connect {
        Connect::new(Peer::Listener(self))
    }

    /// Waits for one connection, and returns its socket.
    pub(crate) async fn accept_socket(self) -> io::Result<Socket> {
        let accepted = engine::accept(&self.socket).await?;
        while let Ok((_surplus, _)) = self.socket.accept() {
            engine::log(log::Level::Warn, module_path!(), || {
                format!("dropped a surplus connection to {}", self.address)
            });
        }
        Ok(accepted)
    }

    fn bind(address: ServerAddress) -> Result<Self, ConnectError> {
        let bound = || {
            let (domain, name) = match &address {
                ServerAddress::Unix(path) => (Domain::UNIX, unix_address(path)?),
                ServerAddress::Tcp(at) => (Domain::for_address(*at), (*at).into()),
            };
            let socket = Socket::new(domain, Type::STREAM, None)?;
            if let ServerAddress::Tcp(_) = address {
                // Or the port of a connection that has just ended is refused.
                socket.set_reuse_address(true)?;
            }
            socket.bind(&name)?;
            let path = match &address {
                ServerAddress::Unix(path) => Some(RemovedPath::new(path)?),
                ServerAddress::Tcp(_) => None,
            };
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            let real = socket.local_addr()?.as_socket();
            Ok((socket, path, real))
        };
        match bound() {
            Ok((socket, path, real)) => {
                let address = real.map_or(address, ServerAddress::Tcp);
                Ok(Self {
                    socket,
                    address,
                    _path: path,
                })
            }
            Err(cause) => Err(ConnectError::Address {
                action: "listen on",
                address: address.to_string(),
                cause,
            }),
        }
    }
}

/// The address that a path is.
///
/// # Errors
/// The path is too long.
pub(super) fn unix_address(path: &Path) -> io::Result<SockAddr> {
    let length = path.as_os_str().len();
    if length > PATH_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the path has {length} bytes, and that of a socket has {PATH_BYTES} at most"),
        ));
    }
    SockAddr::unix(path)
}

/// What unix(7) has room for, without the NUL at the end.
const PATH_BYTES: usize = 107;

/// The path of a unix socket that we bound; removed when dropped, if it is
/// still ours.
#[derive(Debug)]
struct RemovedPath {
    path: PathBuf,
    inode: u64,
}

impl RemovedPath {
    fn new(path: &Path) -> io::Result<Self> {
        let inode = std::fs::symlink_metadata(path)?.ino();
        Ok(Self {
            path: path.to_owned(),
            inode,
        })
    }
}

impl Drop for RemovedPath {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|now| now.ino() == self.inode);
        if ours {
            // What is gone need not be removed.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

const BACKLOG: i32 = 8;
