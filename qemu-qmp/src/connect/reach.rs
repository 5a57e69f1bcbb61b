//! Reaching a server that does not listen yet, or whose queue of connections is
//! full: states that pass by themselves, so they are waited for.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::{ConnectError, ConnectStage, ServerAddress};
use qemu_qmp_engine as engine;

impl ServerAddress {
    /// Connects; `stage` says what is waited for. Waits for a server that does
    /// not listen yet unless it must listen already.
    pub(crate) async fn reach(
        &self,
        must_listen: bool,
        stage: &mut ConnectStage,
    ) -> Result<Socket, ConnectError> {
        let failed = |cause| ConnectError::Address {
            action: "connect to",
            address: self.to_string(),
            cause,
        };
        let (domain, address) = match self {
            Self::Unix(path) => (
                Domain::UNIX,
                super::listen::unix_address(path).map_err(failed)?,
            ),
            Self::Tcp(address) => (Domain::for_address(*address), (*address).into()),
        };
        // A timed guess, as nothing tells. Linux refuses a non-blocking connect
        // by EAGAIN where the queue is full, and such a socket is never ready:
        // only a thread that blocks in `connect` is woken. A path can be watched
        // by inotify, but it is there before its server listens, and of that the
        // system tells nobody; nor does it of a TCP port.
        let mut pace = SHORTEST;
        // What was found last stands while it is tried again.
        *stage = ConnectStage::Connection;
        loop {
            let socket = Socket::new(domain, Type::STREAM, None)?;
            socket.set_nonblocking(true)?;
            let error = match engine::connect(socket, address.clone()).await {
                Ok(socket) if is_its_own_peer(&socket) => io::ErrorKind::ConnectionRefused.into(),
                Ok(socket) => return Ok(socket),
                Err(error) => self.told_more_clearly(error),
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

    /// What will not pass by itself is told from what does.
    fn told_more_clearly(&self, error: io::Error) -> io::Error {
        let Self::Unix(path) = self else { return error };
        match error.kind() {
            io::ErrorKind::NotFound if !has_directory(path) => {
                io::Error::other("its directory does not exist")
            }
            io::ErrorKind::ConnectionRefused if is_no_socket(path) => {
                io::Error::other("the file is not a socket")
            }
            _ => error,
        }
    }
}

/// What is to be waited for after this error; `None` where it does not pass.
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

/// Whether the socket is connected to itself: TCP does that where a port of the
/// range from which the system takes local ports is tried again and again, and
/// nothing listens there.
fn is_its_own_peer(socket: &Socket) -> bool {
    let ends = [socket.local_addr(), socket.peer_addr()];
    let [local, peer] = ends.map(|end| end.ok().and_then(|end| end.as_socket()));
    local.is_some() && local == peer
}

/// Between the first tries: a server that starts takes some milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// Between the later ones.
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
