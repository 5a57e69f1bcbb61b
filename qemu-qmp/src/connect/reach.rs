//! Connecting to a server that does not listen yet, or whose queue of connections
//! is full. These states pass, so the operation waits.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::{ConnectError, ConnectStage, ServerAddress};
use qemu_qmp_engine as engine;

impl ServerAddress {
    /// Connects, and keeps `stage` at the step that is not finished. Waits for a
    /// server that does not listen yet, unless it must listen already.
    pub(crate) async fn reach(
        &self,
        must_listen: bool,
        stage: &mut ConnectStage,
    ) -> Result<Socket, ConnectError> {
        let failed = |cause| ConnectError::Address {
            action: "connect to",
            address: self.to_string(),
            cause: Arc::new(cause),
        };
        let (domain, address) = match self {
            Self::Unix(path) => (
                Domain::UNIX,
                super::listen::unix_address(path).map_err(failed)?,
            ),
            Self::Tcp(address) => (Domain::for_address(*address), (*address).into()),
        };
        // It tries again after a pause, because Linux gives no notice. Where the
        // queue is full, a non-blocking connect fails with EAGAIN and the socket
        // never becomes ready: only a thread that blocks in `connect` is woken.
        // inotify can watch a path, but a path exists before its server listens.
        // Nothing reports when a server listens, on a path or on a TCP port.
        let mut pace = SHORTEST;
        // The last stage stays while it tries again.
        *stage = ConnectStage::Connection;
        loop {
            let socket = Socket::new(domain, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            let error = match engine::connect(socket, address.clone()).await {
                Ok(socket) if is_its_own_peer(&socket) => io::ErrorKind::ConnectionRefused.into(),
                Ok(socket) => return Ok(socket),
                Err(error) => self.explain(error),
            };
            *stage = match passes(&error) {
                Some(ConnectStage::NoSocket | ConnectStage::NothingListens) if must_listen => {
                    return Err(failed(error));
                }
                Some(stage) => stage,
                None => return Err(failed(error)),
            };
            engine::pause(pace).await;
            pace = (pace * 2).min(LONGEST);
        }
    }

    /// Gives a state that does not pass its own error.
    fn explain(&self, error: io::Error) -> io::Error {
        let Self::Unix(path) = self else { return error };
        match error.kind() {
            io::ErrorKind::NotFound if !has_directory(path) => {
                io::Error::new(io::ErrorKind::NotADirectory, "its directory does not exist")
            }
            io::ErrorKind::ConnectionRefused if is_no_socket(path) => {
                io::Error::new(io::ErrorKind::InvalidInput, "the file is not a socket")
            }
            _ => error,
        }
    }
}

/// The stage that this error means; `None` if waiting cannot help.
fn passes(error: &io::Error) -> Option<ConnectStage> {
    match error.kind() {
        io::ErrorKind::WouldBlock => Some(ConnectStage::QueueFull),
        io::ErrorKind::NotFound => Some(ConnectStage::NoSocket),
        io::ErrorKind::ConnectionRefused => Some(ConnectStage::NothingListens),
        // A server that is just being stopped, or a signal.
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::Interrupted => Some(ConnectStage::Connection),
        _ => None,
    }
}

fn has_directory(path: &Path) -> bool {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => true,
        Some(parent) => parent.is_dir(),
        None => true,
    }
}

fn is_no_socket(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| !file.file_type().is_socket())
}

/// Whether the socket is connected to itself. TCP does that for a port in the
/// range of local ports, if nothing listens there and a client tries repeatedly.
fn is_its_own_peer(socket: &Socket) -> bool {
    let ends = [socket.local_addr(), socket.peer_addr()];
    let [local, peer] = ends.map(|end| end.ok().and_then(|end| end.as_socket()));
    local.is_some() && local == peer
}

/// The pause between the first tries: a server needs some milliseconds to start.
const SHORTEST: Duration = Duration::from_millis(1);

/// The pause between later tries.
const LONGEST: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use super::*;

    #[test]
    fn a_socket_that_is_connected_to_itself_is_no_server() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        socket.connect(&socket.local_addr().unwrap()).unwrap();
        assert!(is_its_own_peer(&socket));
        let (one, _other) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        assert!(!is_its_own_peer(&one));
    }

    #[test]
    fn a_path_without_a_directory_is_told_from_one_that_may_come() {
        assert!(has_directory(Path::new("qmp.sock")));
        assert!(has_directory(Path::new("/qmp.sock")));
        assert!(!has_directory(Path::new("/nonesuch/qmp.sock")));
    }
}
