//! Getting at an agent's channel.

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::{Driver, GuestAgent};
use crate::client::{Peer, Stranger};
use crate::engine::{Elapsed, Engine};
use crate::wire::AgentSettings;
use crate::{ConnectError, ConnectStage, ConnectedSocket, Deadlines, ServerAddress};

impl GuestAgent {
    /// Connects to an agent's channel that is a unix socket, on which QEMU
    /// listens, or is about to: see [`Connect::already_listening`].
    pub fn connect_unix(path: impl AsRef<Path>) -> Connect {
        Connect::new(Peer::Address(ServerAddress::Unix(path.as_ref().to_owned())))
    }

    /// Connects to an agent's channel that is a TCP port, on which QEMU
    /// listens, or is about to: see [`Connect::already_listening`].
    pub fn connect_tcp(address: SocketAddr) -> Connect {
        Connect::new(Peer::Address(ServerAddress::Tcp(address)))
    }

    /// Takes over a socket that is connected to an agent's channel.
    pub fn over(socket: impl Into<ConnectedSocket>) -> Connect {
        Connect::new(Peer::Socket(socket.into().0))
    }
}

/// A channel to be connected; becomes a [`GuestAgent`] when awaited or waited
/// for. Whether an agent is behind it shows with the first command.
///
/// # Errors
/// Each variant of [`ConnectError`] says when. Nothing is left then.
///
/// # Cancel safety
/// If the future is dropped, the channel is closed.
#[derive(Debug)]
#[must_use = "nothing is connected until awaited or waited for"]
pub struct Connect {
    peer: Peer,
    must_listen: bool,
    settings: AgentSettings,
    deadlines: Deadlines,
    timeout: Option<Duration>,
}

impl Connect {
    fn new(peer: Peer) -> Self {
        Self {
            peer,
            must_listen: false,
            settings: AgentSettings::default(),
            deadlines: Deadlines::default(),
            timeout: Deadlines::default().limit(),
        }
    }

    /// Fails at once where nothing listens at the address. By default, such a
    /// channel is waited for until the [`timeout`](Self::timeout), as
    /// [`Client`](crate::Connect::already_listening) does it.
    pub fn already_listening(mut self) -> Self {
        self.must_listen = true;
        self
    }

    /// Has operations on the agent wait as long as these say where they do not
    /// say so themselves, instead of 30 s.
    pub fn deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Takes lines of so many bytes instead of 64 MiB at most.
    pub fn line_limit_bytes(mut self, limit: usize) -> Self {
        self.settings.line_limit_bytes = limit;
        self
    }

    /// Waits no longer than this to be connected, instead of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits to be connected as long as it takes.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }
}

impl IntoFuture for Connect {
    type Output = Result<GuestAgent, ConnectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let engine = Engine::start()?;
            let server = self.peer.server();
            let mut stage = ConnectStage::Connection;
            let connect = self.peer.connect(self.must_listen, &mut stage);
            let connected = self.deadlines.timeout(self.timeout, connect).await;
            let (socket, stranger) = connected.unwrap_or_else(|Elapsed(limit)| {
                Err(ConnectError::Timeout {
                    server,
                    limit,
                    stage,
                })
            })?;
            let witness: Arc<Stranger> = Arc::new(stranger);
            let (agent, mut driver) =
                Driver::new(socket, self.settings, self.deadlines.clone(), witness)?;
            engine.spawn(async move {
                let cause = driver.run().await;
                driver.link().end(&cause).tell();
            });
            Ok(agent)
        })
    }
}
