//! The interface for a supervisor of the server: it runs the reader itself, and
//! reports the server's end as its own error. It is hidden, for `qemu-machine`, and
//! has no promise of stability.
//!
//! The monitor and the agent have one shape: a handle for callers, a [`Reader`]
//! for the supervisor, and [`PendingNotices`] when the connection ends.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp_engine::Elapsed;

pub use crate::agent::AgentLink;
use crate::agent::GuestAgent;
pub use crate::client::on_event;
use crate::connect::{ConnectError, ConnectStage, Listener, ServerAddress};
pub use crate::reader::{PeerContext, PendingNotices, Reader, ReadySignal};
use crate::wire::{AgentSettings, Settings};
use crate::{Client, Deadlines, Disconnected, Transcript};

/// A monitor on a connected socket. Nothing is received before the reader runs.
///
/// # Errors
/// This process has no thread or descriptor left for it.
pub fn monitor(
    socket: OwnedFd,
    settings: Settings,
    deadlines: Deadlines,
    context: Arc<dyn PeerContext>,
    transcript: Option<Transcript>,
) -> io::Result<(Client, Reader, ReadySignal)> {
    crate::client::open(socket.into(), settings, deadlines, context, transcript)
}

/// What a client knows about its server, for errors.
pub fn context(client: &Client) -> Arc<dyn PeerContext> {
    client.context()
}

/// A guest agent's channel on a connected socket. Nothing is received before
/// the reader runs.
///
/// # Errors
/// This process has no thread or descriptor left for it.
pub fn agent(
    socket: OwnedFd,
    settings: AgentSettings,
    deadlines: Deadlines,
    context: Arc<dyn PeerContext>,
) -> io::Result<(GuestAgent, Reader, AgentLink)> {
    crate::agent::open(socket.into(), settings, deadlines, context)
}

/// A handle for a machine without an agent. Every operation fails with this
/// cause.
pub fn absent_agent(
    cause: Disconnected,
    deadlines: Deadlines,
    context: Arc<dyn PeerContext>,
) -> GuestAgent {
    crate::agent::absent(cause, deadlines, context)
}

/// Connects to a unix socket, as [`Connect`](crate::connect::Connect) does.
///
/// # Errors
/// As for that.
pub async fn connect_unix(
    path: &Path,
    must_listen: bool,
    deadlines: &Deadlines,
    timeout: Option<Duration>,
) -> Result<OwnedFd, ConnectError> {
    let address = ServerAddress::Unix(path.to_owned());
    let mut stage = ConnectStage::Connection;
    let reached = address.reach(must_listen, &mut stage);
    match deadlines.timeout(timeout, reached).await {
        Ok(reached) => reached.map(OwnedFd::from),
        Err(Elapsed(limit)) => Err(ConnectError::Timeout {
            server: address.to_string(),
            limit,
            stage,
        }),
    }
}

/// Waits for one connection to the listener, and returns its socket.
///
/// # Errors
/// No descriptor is left.
pub async fn accept(listener: Listener) -> io::Result<OwnedFd> {
    listener.accept_socket().await.map(OwnedFd::from)
}
