//! The reader of an agent's channel: hands what the agent answers to who waits.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;

use socket2::Socket;

use super::{GuestAgent, Handle, Lost, Shared, Waiter};
use crate::engine::{self, Engine, Stream, Watched};
use crate::wire::{AgentHold, AgentSettings};
use crate::{Deadlines, Disconnected, Witness};

/// Reads one agent's channel. Whoever supervises the machine runs it
/// themselves; everyone else has [`GuestAgent`]'s constructors do it.
pub struct Driver(Arc<Shared>);

/// What a supervisor who knows more than the channel tells has to do with it.
#[derive(Clone)]
pub struct Link(Arc<Shared>);

impl Driver {
    /// An agent's channel on a connected socket, of a machine of which
    /// `witness` knows. Nothing is received until the driver
    /// [runs](Self::run) on the engine.
    ///
    /// # Errors
    /// This process has no thread or descriptor left for it.
    pub fn new(
        socket: Socket,
        mut settings: AgentSettings,
        deadlines: Deadlines,
        witness: Arc<dyn Witness>,
    ) -> io::Result<(GuestAgent, Self)> {
        let engine = Engine::start()?;
        // Commands are small and wait for nothing. Only TCP has the option.
        let _ = socket.set_tcp_nodelay(true);
        settings.first_sync = some_number();
        let stream = Stream::new(socket, OUTBOX_LIMIT_BYTES)?;
        let shared = Shared::new(Some(stream), &settings, deadlines, witness);
        let agent = GuestAgent {
            handle: Arc::new(Handle {
                shared: Arc::clone(&shared),
                engine: Some(engine),
            }),
        };
        Ok((agent, Self(shared)))
    }

    /// Reads until the channel ends, and gives the reason. Those who wait on it
    /// are not told before [`Link::end`].
    pub async fn run(&mut self) -> Disconnected {
        let Some(stream) = &self.0.stream else {
            return Disconnected::ByClient;
        };
        let receive = |bytes: &[u8]| {
            self.0.change(|state| state.connection.receive(bytes));
            Ok::<(), io::Error>(())
        };
        match stream.drive(receive).await {
            Ok(()) => Disconnected::ByServer,
            Err(error) => error.into(),
        }
    }

    /// For a supervisor.
    pub fn link(&self) -> Link {
        Link(Arc::clone(&self.0))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // Nothing will be read any more.
        self.0.shutdown();
    }
}

impl Link {
    /// Something in the guest has opened its end, or closed it: QEMU's event
    /// `VSERPORT_CHANGE`.
    pub fn port_changed(&self, open: bool) {
        self.0.change(|state| state.connection.port_changed(open));
    }

    /// The machine holds the guest for good, for this reason, or it goes on.
    pub fn guest_is_held(&self, hold: Option<AgentHold>) {
        self.0.change(|state| state.connection.guest_is_held(hold));
    }

    /// Ends the channel after what was received by now is read.
    pub fn cut(&self) {
        self.0.shutdown();
    }

    /// Lets go of the channel; who still waits on it is to be told yet.
    pub fn end(&self, cause: &Disconnected) -> Untold {
        let untold = self.0.end(cause);
        self.0.shutdown();
        untold
    }
}

/// Who waits on a channel that has ended, and is not told yet.
#[derive(Default)]
#[must_use = "who waits is to be told"]
pub struct Untold {
    waiters: Vec<(Waiter, Lost)>,
    /// For who waits for something else than an answer, or comes now.
    is_told: Option<Arc<Watched<bool>>>,
}

impl Untold {
    pub(super) fn new(
        waiters: Vec<(Waiter, bool)>,
        cause: &Disconnected,
        is_told: Arc<Watched<bool>>,
    ) -> Self {
        let lost = |was_sent| Lost {
            cause: cause.clone(),
            was_sent,
        };
        let waiters = waiters.into_iter();
        Self {
            waiters: waiters.map(|(it, sent)| (it, lost(sent))).collect(),
            is_told: Some(is_told),
        }
    }

    /// Tells them.
    pub fn tell(self) {
        for (waiter, lost) in self.waiters {
            // Whoever has given up waiting needs no word.
            engine::wake(|| waiter.told.send(Err(lost)));
        }
        if let Some(is_told) = self.is_told {
            is_told.set(true);
        }
    }
}

/// One that nobody before us is likely to have chosen, and that every JSON
/// reader takes for an integer.
fn some_number() -> u64 {
    RandomState::new().hash_one(()) >> 16
}

/// What may wait for an agent that does not read.
const OUTBOX_LIMIT_BYTES: usize = 16 << 20;
