//! Connecting to a server that listens, over a socket that is connected, or by
//! waiting for a server to connect.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;

use super::witness::Stranger;
use super::{
    Client, ConnectError, ConnectStage, Disconnected, Driver, Listener, Ready, Transcript, Witness,
};
use crate::Deadlines;
use crate::engine::{Elapsed, Engine};
use crate::wire::Settings;

impl Client {
    /// Connects to a server that listens on a unix socket, or is about to:
    /// see [`Connect::already_listening`].
    pub fn connect_unix(path: impl AsRef<Path>) -> Connect {
        Connect::new(Peer::Address(ServerAddress::Unix(path.as_ref().to_owned())))
    }

    /// Connects to a server that listens on a TCP port, or is about to: see
    /// [`Connect::already_listening`].
    pub fn connect_tcp(address: SocketAddr) -> Connect {
        Connect::new(Peer::Address(ServerAddress::Tcp(address)))
    }

    /// Takes over a socket that is connected to a server: a
    /// [`UnixStream`], a [`TcpStream`] or an [`OwnedFd`].
    pub fn over(socket: impl Into<ConnectedSocket>) -> Connect {
        Connect::new(Peer::Socket(socket.into().0))
    }
}

/// A connection to be made; becomes a [`Client`] when awaited or waited for.
///
/// # Errors
/// Each variant of [`ConnectError`] says when. Nothing is left then, and the
/// same may be tried again.
///
/// # Cancel safety
/// If the future is dropped, the connection is closed; where a server was to
/// connect, nobody listens any more.
#[derive(Debug)]
#[must_use = "nothing is connected until awaited or waited for"]
pub struct Connect {
    peer: Peer,
    must_listen: bool,
    settings: Settings,
    deadlines: Deadlines,
    transcript: Option<Transcript>,
    timeout: Option<Duration>,
}

/// Where a server listens.
#[derive(Debug, Clone)]
pub enum ServerAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

/// A socket that is connected already.
#[derive(Debug)]
pub struct ConnectedSocket(pub(crate) Socket);

/// How a socket is had that is connected.
#[derive(Debug)]
pub(crate) enum Peer {
    Address(ServerAddress),
    Socket(Socket),
    Listener(Listener),
}

impl Peer {
    /// Connects; `stage` says what is waited for.
    pub(crate) async fn connect(
        self,
        must_listen: bool,
        stage: &mut ConnectStage,
    ) -> Result<(Socket, Stranger), ConnectError> {
        match self {
            Self::Address(address) => {
                let socket = address.reach(must_listen, stage).await?;
                Ok((socket, Stranger::At(address)))
            }
            Self::Socket(socket) => Ok((socket, Stranger::Somewhere)),
            Self::Listener(listener) => {
                *stage = ConnectStage::Accept;
                let stranger = Stranger::At(listener.address().clone());
                Ok((listener.accept_socket().await?, stranger))
            }
        }
    }
}

impl Peer {
    /// What the server is called in an error.
    pub(crate) fn server(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Socket(_) => "the server".to_owned(),
            Self::Listener(listener) => listener.address().to_string(),
        }
    }

    /// Whether the server may be serving another client, and not know of us.
    fn may_serve_another(&self) -> bool {
        matches!(self, Self::Address(_))
    }
}

impl Connect {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            peer,
            must_listen: false,
            settings: Settings::default(),
            deadlines: Deadlines::default(),
            transcript: None,
            timeout: Deadlines::default().limit(),
        }
    }

    /// Fails at once where nothing listens at the address. By default, such a
    /// server is waited for until the [`timeout`](Self::timeout): QEMU makes its
    /// socket some time after its start (`server=on,wait=off`).
    ///
    /// A server whose queue of connections is full is waited for in any case. What
    /// does not pass by itself is an error at once in any case: a directory that
    /// does not exist, a file that is no socket, a socket that is not permitted.
    pub fn already_listening(mut self) -> Self {
        self.must_listen = true;
        self
    }

    /// Has operations on the connection wait as long as these say where they
    /// do not say so themselves, instead of 30 s. The connecting has a limit of
    /// its own.
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Writes every message of the connection to this file, from the greeting
    /// on.
    pub fn transcript(mut self, transcript: Transcript) -> Self {
        self.transcript = Some(transcript);
        self
    }

    /// Does not wait for a greeting, as where something else has read it.
    pub fn no_greeting(mut self) -> Self {
        self.settings.greeting = false;
        self
    }

    /// Leaves capabilities negotiation to the caller: until then the server
    /// refuses every command but `qmp_capabilities`. Out-of-band execution is
    /// only for connections that were negotiated by us.
    pub fn no_negotiation(mut self) -> Self {
        self.settings.negotiate = false;
        self
    }

    /// Takes lines of so many bytes instead of 256 MiB at most.
    pub fn line_limit_bytes(mut self, limit: usize) -> Self {
        self.settings.line_limit_bytes = limit;
        self
    }

    /// Waits no longer than this, from now until the server is ready, instead of
    /// 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits for the server as long as the connection lives.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }
}

impl IntoFuture for Connect {
    type Output = Result<Client, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self {
                peer,
                must_listen,
                settings,
                deadlines,
                transcript,
                timeout,
            } = self;
            // Its timers are needed from here on.
            Engine::start()?;
            let (server, may_serve_another) = (peer.server(), peer.may_serve_another());
            let mut stage = ConnectStage::Connection;
            let mut connected_client = None;
            let connected = async {
                let (socket, stranger) = peer.connect(must_listen, &mut stage).await?;
                let ready =
                    Handshake::begin(socket, settings, deadlines.clone(), stranger, transcript)?;
                connected_client = Some(ready.client.clone());
                ready.end().await
            };
            let outcome = deadlines.timeout(timeout, connected).await;
            outcome.unwrap_or_else(|Elapsed(limit)| {
                let stage = match connected_client {
                    None => stage,
                    Some(client) if client.has_greeted() => ConnectStage::Negotiation,
                    Some(_) => ConnectStage::Greeting { may_serve_another },
                };
                Err(ConnectError::Timeout {
                    server,
                    limit,
                    stage,
                })
            })
        })
    }
}

/// A client of a connected socket, which may not send commands yet.
struct Handshake {
    client: Client,
    ready: Ready,
}

impl Handshake {
    fn begin(
        socket: Socket,
        settings: Settings,
        deadlines: Deadlines,
        stranger: Stranger,
        transcript: Option<Transcript>,
    ) -> Result<Self, ConnectError> {
        let witness: Arc<dyn Witness> = Arc::new(stranger);
        let (client, mut driver, ready) =
            Driver::new(socket, settings, deadlines, witness, transcript)?;
        Engine::start()?.spawn(async move {
            let cause = driver.run().await;
            driver.finish(&cause);
        });
        Ok(Self { client, ready })
    }

    /// Waits until it may send commands.
    async fn end(mut self) -> Result<Client, ConnectError> {
        if self.ready.wait().await {
            return Ok(self.client);
        }
        Err(ConnectError::Disconnected(
            self.client.disconnected().unwrap_or(Disconnected::ByServer),
        ))
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

impl From<UnixStream> for ConnectedSocket {
    fn from(stream: UnixStream) -> Self {
        Self(stream.into())
    }
}

impl From<TcpStream> for ConnectedSocket {
    fn from(stream: TcpStream) -> Self {
        Self(stream.into())
    }
}

impl From<OwnedFd> for ConnectedSocket {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor.into())
    }
}

impl From<Socket> for ConnectedSocket {
    fn from(socket: Socket) -> Self {
        Self(socket)
    }
}
