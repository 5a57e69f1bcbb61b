//! Connecting: to a server that listens, over a connected socket, or from a
//! listener to which a server connects. One operation for both dialects.
//!
//! It receives an address, a socket or a listener, and returns a handle whose
//! reader runs on the engine.

pub(crate) mod error;
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
use crate::reader::{PeerContext, Reader, ReadySignal};
use crate::wire::{AgentSettings, Settings};
use crate::{Client, Deadlines, Disconnected, Transcript};

pub(crate) use error::ConnectError;
pub use error::ConnectStage;
pub use listen::Listener;

impl Client {
    /// Connects to a server on a unix socket. It waits if nothing listens
    /// there yet: see [`Connect::already_listening`].
    pub fn connect_unix(path: impl AsRef<Path>) -> Connect {
        Connect::new(Peer::Address(ServerAddress::Unix(path.as_ref().to_owned())))
    }

    /// Connects to a server on a TCP port. It waits if nothing listens
    /// there yet: see [`Connect::already_listening`].
    pub fn connect_tcp(address: SocketAddr) -> Connect {
        Connect::new(Peer::Address(ServerAddress::Tcp(address)))
    }

    /// Uses a socket that is connected to a server: a [`UnixStream`], a
    /// [`TcpStream`] or an [`OwnedFd`].
    pub fn over(socket: impl Into<ConnectedSocket>) -> Connect {
        Connect::new(Peer::Socket(socket.into().0))
    }
}

impl GuestAgent {
    /// Connects to an agent's channel on a unix socket of QEMU's. It waits if
    /// nothing listens there yet: see [`Connect::already_listening`].
    pub fn connect_unix(path: impl AsRef<Path>) -> Connect<Self> {
        Connect::new(Peer::Address(ServerAddress::Unix(path.as_ref().to_owned())))
    }

    /// Connects to an agent's channel on a TCP port of QEMU's. It waits if
    /// nothing listens there yet: see [`Connect::already_listening`].
    pub fn connect_tcp(address: SocketAddr) -> Connect<Self> {
        Connect::new(Peer::Address(ServerAddress::Tcp(address)))
    }

    /// Uses a socket that is connected to an agent's channel.
    pub fn over(socket: impl Into<ConnectedSocket>) -> Connect<Self> {
        Connect::new(Peer::Socket(socket.into().0))
    }
}

/// Connects; made by [`Client`], [`GuestAgent`] or [`Listener`]. The result is a
/// [`Client`] or a [`GuestAgent`].
///
/// A client is ready for commands. A guest agent may not run yet: the first
/// command waits for it.
///
/// # Errors
/// See the variants of [`ConnectError`]. Nothing is left open, and the caller may
/// try again.
///
/// # Cancel safety
/// If the future is dropped, the connection is closed. A listener is closed
/// too.
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

/// The address of a server.
#[derive(Debug, Clone)]
pub enum ServerAddress {
    /// A unix socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

/// A connected socket.
#[derive(Debug)]
pub struct ConnectedSocket(Socket);

/// The source of the connected socket.
#[derive(Debug)]
enum Peer {
    Address(ServerAddress),
    Socket(Socket),
    Listener(Listener),
}

impl Peer {
    /// Connects, and keeps `stage` at the step that is not finished.
    async fn connect(
        self,
        must_listen: bool,
        stage: &mut ConnectStage,
    ) -> Result<(Socket, PeerAddress), ConnectError> {
        match self {
            Self::Address(address) => {
                let socket = address.reach(must_listen, stage).await?;
                Ok((socket, PeerAddress::At(address)))
            }
            Self::Socket(socket) => Ok((socket, PeerAddress::Connected)),
            Self::Listener(listener) => {
                *stage = ConnectStage::Accept;
                let context = PeerAddress::At(listener.address().clone());
                Ok((listener.accept_socket().await?, context))
            }
        }
    }
}

impl Peer {
    /// The server's name in errors.
    fn server(&self) -> String {
        match self {
            Self::Address(address) => address.to_string(),
            Self::Socket(_) => "the server".to_owned(),
            Self::Listener(listener) => listener.address().to_string(),
        }
    }

    /// Whether the server may be serving another client.
    fn may_serve_another(&self) -> bool {
        matches!(self, Self::Address(_))
    }
}

/// The protocol of a connection: [`Client`] or [`GuestAgent`].
#[doc(hidden)]
pub trait Dialect: Sized {
    type Settings: fmt::Debug + Default + Send;

    fn limit_line(settings: &mut Self::Settings, bytes: usize);

    fn open(opening: Opening<Self>) -> io::Result<Opened<Self>>;
}

/// A connected socket, and the settings of its connection.
#[doc(hidden)]
pub struct Opening<H: Dialect> {
    socket: Socket,
    settings: H::Settings,
    deadlines: Deadlines,
    context: Arc<dyn PeerContext>,
    transcript: Option<Transcript>,
}

/// A connection whose reader does not run yet.
#[doc(hidden)]
pub struct Opened<H> {
    handle: H,
    reader: Reader,
    /// The client whose handshake must finish first.
    handshake: Option<(Client, ReadySignal)>,
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

    /// Fails at once if nothing listens at the address. By default the
    /// operation waits until its [`timeout`](Self::timeout): QEMU creates its
    /// socket some time after its start (`server=on,wait=off`).
    ///
    /// With or without this option, it waits while the server's queue of
    /// connections is full. It fails at once where waiting cannot help: the
    /// directory does not exist, the file is not a socket, or access is denied.
    pub fn already_listening(mut self) -> Self {
        self.must_listen = true;
        self
    }

    /// Sets the deadlines of operations on the connection, instead of 30 s.
    /// Connecting has its own [`timeout`](Self::timeout).
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Sets the longest line that is accepted, in bytes. The default is 256 MiB
    /// from a server, and 64 MiB from an agent.
    pub fn line_limit_bytes(mut self, limit: usize) -> Self {
        H::limit_line(&mut self.settings, limit);
        self
    }
}

impl Connect {
    /// Writes every message of the connection to this file, starting with the
    /// greeting.
    pub fn transcript(mut self, transcript: Transcript) -> Self {
        self.transcript = Some(transcript);
        self
    }

    /// Does not wait for a greeting, because another program has read it.
    pub fn no_greeting(mut self) -> Self {
        self.settings.greeting = false;
        self
    }

    /// Leaves capabilities negotiation to the caller. Until it is done, the
    /// server refuses every command except `qmp_capabilities`. Out-of-band
    /// execution is not available: it needs negotiation by this crate.
    pub fn no_negotiation(mut self) -> Self {
        self.settings.negotiate = false;
        self
    }
}

timeout_option!({H: Dialect} Connect<H>, timeout);

operation!({H: Dialect + Send + 'static} Connect<H> => Result<H, ConnectError>);

impl<H: Dialect + Send> Connect<H> {
    async fn run(self) -> Result<H, ConnectError> {
        // The timers below need it.
        let engine = Engine::start()?;
        let (server, may_serve_another) = (self.peer.server(), self.peer.may_serve_another());
        let (deadlines, timeout) = (self.deadlines.clone(), self.timeout);
        let mut stage = ConnectStage::Connection;
        let mut handshaking = None;
        let connected = async {
            let (socket, context) = self.peer.connect(self.must_listen, &mut stage).await?;
            let opened = H::open(Opening {
                socket,
                settings: self.settings,
                deadlines: self.deadlines,
                context: Arc::new(context),
                transcript: self.transcript,
            })?;
            let reader = opened.reader;
            engine.spawn(async move {
                reader.run().await;
                reader.finish();
            });
            if let Some((client, mut ready)) = opened.handshake {
                let client = handshaking.insert(client);
                if !ready.wait().await {
                    let cause = client.disconnected().unwrap_or(Disconnected::ByServer);
                    return Err(ConnectError::Disconnected(cause));
                }
            }
            Ok(opened.handle)
        };
        let outcome = deadlines.timeout(timeout, connected).await;
        outcome.unwrap_or_else(|Elapsed(limit)| {
            let stage = match handshaking {
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

/// Names a server by its address.
#[derive(Debug)]
enum PeerAddress {
    At(ServerAddress),
    /// The address of a connected socket is not known.
    Connected,
}

impl PeerContext for PeerAddress {
    fn name(&self) -> String {
        match self {
            Self::At(address) => format!("server at {address}"),
            Self::Connected => "server".to_owned(),
        }
    }
}
