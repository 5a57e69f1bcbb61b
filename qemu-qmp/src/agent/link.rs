//! Opens an agent's channel, and receives a supervisor's reports about it.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use qemu_qmp_engine::{Engine, Stream};
use socket2::Socket;

use super::{GuestAgent, Handle, Shared};
use crate::reader::{Connected, PeerContext, PendingNotices, Reader};
use crate::wire::{AgentSettings, PauseReason};
use crate::{Deadlines, Disconnected};

/// An agent's channel on a connected socket. Nothing is received before the
/// reader runs.
///
/// # Errors
/// This process has no thread or descriptor left for it.
pub(crate) fn open(
    socket: Socket,
    mut settings: AgentSettings,
    deadlines: Deadlines,
    context: Arc<dyn PeerContext>,
) -> io::Result<(GuestAgent, Reader, AgentLink)> {
    let engine = Engine::start()?;
    // Commands are small and must not be delayed. Only TCP has the option.
    let _ = socket.set_tcp_nodelay(true);
    settings.first_sync = random_sync();
    let stream = Stream::new(socket, OUTBOX_LIMIT_BYTES)?;
    let shared = Shared::new(Some(stream), &settings, deadlines, context);
    let agent = GuestAgent {
        handle: Arc::new(Handle {
            shared: Arc::clone(&shared),
            engine: Some(engine),
        }),
    };
    let link = AgentLink(Arc::clone(&shared));
    Ok((agent, Reader::new(shared), link))
}

/// A handle for a machine without an agent. Every operation fails with this
/// cause.
pub(crate) fn absent(
    cause: Disconnected,
    deadlines: Deadlines,
    context: Arc<dyn PeerContext>,
) -> GuestAgent {
    let shared = Shared::new(None, &AgentSettings::default(), deadlines, context);
    shared.lock().ended = Some(cause);
    shared.is_notified.set(true);
    GuestAgent {
        handle: Arc::new(Handle {
            shared,
            engine: None,
        }),
    }
}

impl Connected for Shared {
    fn stream(&self) -> Option<&Stream> {
        self.stream.as_ref()
    }

    fn read_to_end(&self) -> Pin<Box<dyn Future<Output = Disconnected> + Send + '_>> {
        Box::pin(async {
            let Some(stream) = &self.stream else {
                return Disconnected::ByClient;
            };
            let receive = |bytes: &[u8]| {
                self.change(|state| state.connection.receive(bytes));
                Ok::<(), io::Error>(())
            };
            match stream.drive(receive).await {
                Ok(()) => Disconnected::ByServer,
                Err(error) => error.into(),
            }
        })
    }

    fn end(&self, cause: &Disconnected) -> PendingNotices {
        self.end(cause)
    }
}

/// A supervisor's handle, to report what the channel does not show.
#[derive(Clone)]
pub struct AgentLink(Arc<Shared>);

impl AgentLink {
    /// The guest has opened or closed its end of the port (QEMU's event
    /// `VSERPORT_CHANGE`).
    pub fn port_changed(&self, open: bool) {
        self.0.change(|state| state.connection.port_changed(open));
    }

    /// QEMU keeps the guest paused for good, for this reason; or the guest runs
    /// again.
    pub fn guest_paused(&self, reason: Option<PauseReason>) {
        self.0.change(|state| state.connection.guest_paused(reason));
    }
}

/// A number that an earlier client is unlikely to have used, and that every JSON
/// reader accepts as an integer.
fn random_sync() -> u64 {
    RandomState::new().hash_one(()) >> 16
}

/// The limit of the queue to an agent that does not read.
const OUTBOX_LIMIT_BYTES: usize = 16 << 20;
