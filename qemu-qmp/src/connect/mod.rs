//! Connecting: to a server that listens, over a connected socket, or by waiting
//! for a server to connect. One operation for both dialects.

mod error;
mod listen;
mod reach;

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp_engine::{Elapsed, Engine, operation, timeout_option};
use socket2::Socket;

use crate::agent::GuestAgent;
use crate::reader::{PeerContext, Reader, Ready};
use crate::wire::{AgentSettings, Settings};
use crate::{Client, Deadlines, Disconnected, Transcript};

pub use error::{ConnectError, ConnectStage};
pub use listen::Listener;

impl Client {
    /// Connects to a server on a unix socket. Waits for one that does not listen
    /// yet: see [`Connect::already_listening`].
    pub fn connect_unix(path: impl AsRef<Path>) -> Connect {
        Connect::new(Peer::Address(ServerAddress::Unix(path.as_ref().to_owned())))
    }

    /// Connects to a server on a TCP port. Waits for one that does not listen
    /// yet: see [`Connect::already_listening`].
    pub fn connect_tcp(address: SocketAddr) -> Connect {
        Connect::new(Peer::Address(ServerAddress::Tcp(address)))
    }

    /// Takes over a socket that is connected to a server: a
    /// [`UnixStream`], a [`TcpStream`] or an [`OwnedFd`].
    pub fn over(socket: impl Into<ConnectedSocket>) -> Connect {
        Connect::new(Peer::Socket(socket.into().0))
    }
}

impl GuestAgent {
    /// Connects to an agent's channel on a unix socket of QEMU's. Waits for one
    /// that does not listen yet: see [`Connect::already_listening`].
    pub fn connect_unix(path: impl AsRef<Path>) -> Connect<Self> {
        Connect::new(Peer::Address(ServerAddress::Unix(path.as_ref().to_owned())))
    }

    /// Connects to an agent's channel on a TCP port of QEMU's. Waits for one
    /// that does not listen yet: see [`Connect::already_listening`].
    pub fn connect_tcp(address: SocketAddr) -> Connect<Self> {
        Connect::new(Peer::Address(ServerAddress::Tcp(address)))
    }

    /// Takes over a socket that is connected to an agent's channel.
    pub fn over(socket: impl Into<ConnectedSocket>) -> Connect<Self> {
        Connect::new(Peer::Socket(socket.into().0))
    }
}

/// A connection to be made. It becomes a [`Client`], or a [`GuestAgent`], when
/// awaited or waited for.
///
/// A client is ready for commands then. A guest agent need not run yet: the
/// first command shows whether it does.
///
/// # Errors
/// Each variant of [`ConnectError`] says when. Nothing is left then, and the
/// same may be tried again.
///
/// # Cancel safety
/// If the future is dropped, the connection is closed; where a server was to
/// connect, nothing listens any more.
#[derive(Debug)]
#[must_use = "nothing is connected until awaited or waited for"]
pub struct Connect<H: Dialect = Client> {
    peer: Peer,
    must_listen: bool,
    settings: H::Settings,
    deadlines: Deadlines,
    transcript: Option<Transcript>,
    timeout: Option<Duration>,
    handle: PhantomData<fn() -> H>,
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
pub struct ConnectedSocket(Socket);

/// Where a connected socket comes from.
#[derive(Debug)]
enum Peer {
    Address(ServerAddress),
    Socket(Socket),
    Listener(Listener),
}

impl Peer {
    /// Connects; `stage` says what is waited for.
    async fn connect(
        self,
        must_listen: bool,
        stage: &mut ConnectStage,
    ) -> Result<(Socket, UnknownPeer), ConnectError> {
        match self {
            Self::Address(address) => {
                let socket = address.reach(must_listen, stage).await?;
                Ok((socket, UnknownPeer::At(address)))
            }
            Self::Socket(socket) => Ok((socket, UnknownPeer::Connected)),
            Self::Listener(listener) => {
                *stage = ConnectStage::Accept;
                let unknown = UnknownPeer::At(listener.address().clone());
                Ok((listener.accept_socket().await?, unknown))
            }
        }
    }
}

impl Peer {
    /// The server's name in an error.
    fn server(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Socket(_) => "the server".to_owned(),
            Self::Listener(listener) => listener.address().to_string(),
        }
    }

    /// Whether the server may serve another client, and not know of us.
    fn may_serve_another(&self) -> bool {
        matches!(self, Self::Address(_))
    }
}

/// A protocol that a connection may have. For [`Client`] and [`GuestAgent`].
#[doc(hidden)]
pub trait Dialect: Sized {
    type Settings: fmt::Debug + Default + Send;

    fn limit_line(settings: &mut Self::Settings, bytes: usize);

    fn open(opening: Opening<Self>) -> io::Result<Opened<Self>>;
}

/// A connected socket, and what its connection is to be.
#[doc(hidden)]
pub struct Opening<H: Dialect> {
    socket: Socket,
    settings: H::Settings,
    deadlines: Deadlines,
    context: Arc<dyn PeerContext>,
    transcript: Option<Transcript>,
}

/// A connection that is read when its reader runs.
#[doc(hidden)]
pub struct Opened<H> {
    handle: H,
    reader: Reader,
    /// The client whose handshake is to be waited for.
    handshake: Option<(Client, Ready)>,
}

impl Dialect for Client {
    type Settings = Settings;

    fn limit_line(settings: &mut Settings, bytes: usize) {
        settings.line_limit_bytes = bytes;
    }

    fn open(opening: Opening<Self>) -> io::Result<Opened<Self>> {
        let (client, reader, ready) = crate::client::open(
            opening.socket,
            opening.settings,
            opening.deadlines,
            opening.context,
            opening.transcript,
        )?;
        Ok(Opened {
            handle: client.clone(),
            reader,
            handshake: Some((client, ready)),
        })
    }
}

impl Dialect for GuestAgent {
    type Settings = AgentSettings;

    fn limit_line(settings: &mut AgentSettings, bytes: usize) {
        settings.line_limit_bytes = bytes;
    }

    fn open(opening: Opening<Self>) -> io::Result<Opened<Self>> {
        let (handle, reader, _link) = crate::agent::open(
            opening.socket,
            opening.settings,
            opening.deadlines,
            opening.context,
        )?;
        Ok(Opened {
            handle,
            reader,
            handshake: None,
        })
    }
}

impl<H: Dialect> Connect<H> {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            must_listen: false,
            settings: H::Settings::default(),
            deadlines: Deadlines::default(),
            transcript: None,
            timeout: Deadlines::default().limit(),
            handle: PhantomData,
        }
    }

    /// Fails at once where nothing listens at the address. By default the
    /// operation waits for such a server until its [`timeout`](Self::timeout):
    /// QEMU makes its socket some time after its start (`server=on,wait=off`).
    ///
    /// It waits in any case for a server whose queue of connections is full. It
    /// fails at once in any case where waiting cannot help: the directory does
    /// not exist, the file is no socket, or access is denied.
    pub fn already_listening(mut self) -> Self {
        self.must_listen = true;
        self
    }

    /// Sets the deadlines of operations on the connection, instead of 30 s.
    /// The connecting has its own [`timeout`](Self::timeout).
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Sets the length in bytes of the longest line that is accepted: by default
    /// 256 MiB from a server, 64 MiB from an agent.
    pub fn line_limit_bytes(mut self, limit: usize) -> Self {
        H::limit_line(&mut self.settings, limit);
        self
    }
}

impl Connect {
    /// Writes every message of the connection to this file, from the greeting
    /// on.
    pub fn transcript(mut self, transcript: Transcript) -> Self {
        self.transcript = Some(transcript);
        self
    }

    /// Does not wait for a greeting, because something else has read it.
    pub fn no_greeting(mut self) -> Self {
        self.settings.greeting = false;
        self
    }

    /// Leaves capabilities negotiation to the caller. Until then the server
    /// refuses every command except `qmp_capabilities`. Out-of-band execution
    /// needs a negotiation by this crate.
    pub fn no_negotiation(mut self) -> Self {
        self.settings.negotiate = false;
        self
    }
}

timeout_option!({H: Dialect} Connect<H>, timeout);

operation!({H: Dialect + Send + 'static} Connect<H> => Result<H, ConnectError>);

impl<H: Dialect + Send> Connect<H> {
    async fn run(self) -> Result<H, ConnectError> {
        // Its timers are needed from here on.
        let engine = Engine::start()?;
        let (server, may_serve_another) = (self.peer.server(), self.peer.may_serve_another());
        let (deadlines, timeout) = (self.deadlines.clone(), self.timeout);
        let mut stage = ConnectStage::Connection;
        let mut greeted_by = None;
        let connected = async {
            let (socket, unknown) = self.peer.connect(self.must_listen, &mut stage).await?;
            let opened = H::open(Opening {
                socket,
                settings: self.settings,
                deadlines: self.deadlines,
                context: Arc::new(unknown),
                transcript: self.transcript,
            })?;
            let reader = opened.reader;
            engine.spawn(async move {
                reader.run().await;
                reader.finish();
            });
            if let Some((client, mut ready)) = opened.handshake {
                let client = greeted_by.insert(client);
                if !ready.wait().await {
                    let cause = client.disconnected().unwrap_or(Disconnected::ByServer);
                    return Err(ConnectError::Disconnected(cause));
                }
            }
            Ok(opened.handle)
        };
        let outcome = deadlines.timeout(timeout, connected).await;
        outcome.unwrap_or_else(|Elapsed(limit)| {
            let stage = match greeted_by {
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

/// A server of which only the address is known.
#[derive(Debug)]
enum UnknownPeer {
    At(ServerAddress),
    /// On a socket that was connected already.
    Connected,
}

impl PeerContext for UnknownPeer {
    fn name(&self) -> String {
        match self {
            Self::At(address) => format!("server at {address}"),
            Self::Connected => "server".to_owned(),
        }
    }
}
