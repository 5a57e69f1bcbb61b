//! Listening for a server that connects to this side.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use socket2::{Domain, SockAddr, Socket, Type};

use super::{Connect, ConnectError, Peer, ServerAddress};
use qemu_qmp_engine as engine;

/// A socket to which one server connects.
///
/// The path of a unix socket is removed when the listener has accepted a
/// connection, or is dropped.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    address: ServerAddress,
    _path: Option<BoundPath>,
}

impl Listener {
    /// Listens on a unix socket, whose path must not exist.
    ///
    /// # Errors
    /// [`ConnectError::Address`]: the path exists, is too long for the system
    /// (107 bytes on Linux), or its directory is not writable.
    pub fn unix(path: impl AsRef<Path>) -> Result<Self, ConnectError> {
        Self::bind(ServerAddress::Unix(path.as_ref().to_owned()))
    }

    /// Listens on a TCP address. With port 0, the system chooses a port.
    ///
    /// # Errors
    /// [`ConnectError::Address`]: the address is in use, or is not an address of
    /// this host.
    pub fn tcp(address: SocketAddr) -> Result<Self, ConnectError> {
        Self::bind(ServerAddress::Tcp(address))
    }

    /// The address of the listener, with the real port.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Waits for one server, and connects a [`Client`](crate::Client) to it.
    /// Other connections to the listener are dropped, with a warning in the
    /// log.
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
        let bind = || -> io::Result<_> {
            let (domain, name) = match &address {
                ServerAddress::Unix(path) => (Domain::UNIX, unix_address(path)?),
                ServerAddress::Tcp(at) => (Domain::for_address(*at), (*at).into()),
            };
            let socket = Socket::new(domain, Type::STREAM, None)?;
            if let ServerAddress::Tcp(_) = address {
                // Otherwise the port of a connection that has just ended is refused.
                socket.set_reuse_address(true)?;
            }
            socket.bind(&name)?;
            let path = match &address {
                ServerAddress::Unix(path) => Some(BoundPath::new(path)?),
                ServerAddress::Tcp(_) => None,
            };
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            let real = socket.local_addr()?.as_socket();
            Ok((socket, path, real))
        };
        match bind() {
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
                cause: Arc::new(cause),
            }),
        }
    }
}

/// The address of a path.
///
/// # Errors
/// The path is too long.
pub(super) fn unix_address(path: &Path) -> io::Result<SockAddr> {
    let length = path.as_os_str().len();
    if length > PATH_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("the path has {length} bytes, and a socket's path has {PATH_BYTES} at most"),
        ));
    }
    SockAddr::unix(path)
}

/// The longest path that unix(7) allows, without the NUL at its end.
const PATH_BYTES: usize = 107;

/// The path of a unix socket that this process bound. It is removed on drop, if it
/// still belongs to that socket.
#[derive(Debug)]
struct BoundPath {
    path: PathBuf,
    inode: u64,
}

impl BoundPath {
    fn new(path: &Path) -> io::Result<Self> {
        let inode = std::fs::symlink_metadata(path)?.ino();
        Ok(Self {
            path: path.to_owned(),
            inode,
        })
    }
}

impl Drop for BoundPath {
    fn drop(&mut self) {
        let is_ours =
            std::fs::symlink_metadata(&self.path).is_ok_and(|now| now.ino() == self.inode);
        if is_ours {
            // It fails only if the path is gone already.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

const BACKLOG: i32 = 8;
