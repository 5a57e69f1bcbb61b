//! The reader of a connection: hands what the server sends to who waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use socket2::Socket;

use super::tap::{Direction, Taps, Transcript};
use super::{Client, Disconnected, Handle, Shared, State, Untold, Witness};
use crate::Deadlines;
use crate::engine::{self, Engine, Stream, TurnLock, oneshot};
use crate::wait::Source;
use crate::wire::{Connection, Event, Output, ProtocolError, Settings};

/// Reads one connection. Whoever supervises the server runs it themselves, to
/// say in their own words why the connection ended; everyone else has
/// [`Client`]'s constructors do it.
pub struct Driver {
    shared: Arc<Shared>,
}

/// What whoever reads has beside the connection: the engine, or a thread that
/// waits for a reply.
#[derive(Default)]
pub(super) struct Reader {
    ready: Option<oneshot::Sender<()>>,
    hook: Option<EventHook>,
    /// Why nothing more is to be read.
    failed: Option<Disconnected>,
}

/// What is shown each event before anybody else.
type EventHook = Box<dyn FnMut(&Event) + Send>;

/// Ends a connection whose server has ended; made by [`Driver::ender`].
#[derive(Clone)]
pub struct Ender(Arc<Shared>);

impl Ender {
    /// Ends the connection after all that the server has sent is read. Over
    /// TCP that may be on its way still, and who shares the server's socket
    /// may keep it from coming to an end.
    pub fn end(&self) {
        self.0.stream.end();
    }

    /// Waits until all that was received by now is read, and told to everyone.
    /// Runs on the engine.
    pub async fn drained(&self) {
        self.0.stream.drained().await;
    }

    /// Ends the connection after what was received by now is read.
    pub fn cut(&self) {
        self.0.stream.shutdown();
    }
}

/// Is told when commands may be sent.
pub struct Ready(oneshot::Receiver<()>);

impl Driver {
    /// A connection on a connected socket to a server of which `witness` knows.
    /// Nothing is received until the driver [runs](Self::run) on the engine.
    ///
    /// # Errors
    /// This process has no thread or descriptor left for it.
    pub fn new(
        socket: Socket,
        settings: Settings,
        deadlines: Deadlines,
        witness: Arc<dyn Witness>,
        transcript: Option<Transcript>,
    ) -> io::Result<(Client, Self, Ready)> {
        let engine = Engine::start()?;
        let (ready, told) = oneshot::channel();
        // Commands are small and wait for nothing. Only TCP has the option.
        let _ = socket.set_tcp_nodelay(true);
        let shared = Arc::new(Shared {
            stream: Stream::new(socket, OUTBOX_LIMIT_BYTES)?,
            state: Mutex::new(State {
                connection: Connection::new(settings),
                listeners: Vec::new(),
                ended: None,
            }),
            reader: Mutex::new(Reader {
                ready: Some(ready),
                ..Reader::default()
            }),
            greeting: OnceLock::new(),
            deadlines,
            witness,
            taps: Taps::new(transcript),
            is_told: Arc::default(),
            passing: TurnLock::default(),
        });
        let client = Client {
            handle: Arc::new(Handle {
                shared: Arc::clone(&shared),
                engine,
            }),
        };
        Ok((client, Self { shared }, Ready(told)))
    }

    /// Shows each event to `hook`, in whatever thread reads, before any listener
    /// has it, and before the reply of whatever command comes after it.
    pub fn on_event(&mut self, hook: impl FnMut(&Event) + Send + 'static) {
        self.shared.reader().hook = Some(Box::new(hook));
    }

    /// Reads until the connection ends, and gives the reason. Those who wait
    /// on it are not told before [`finish`](Self::finish).
    pub async fn run(&mut self) -> Disconnected {
        let shared = &self.shared;
        // A connection without a greeting is ready, or has something to send,
        // before anything was received.
        shared.reader().dispatch(shared);
        let read = shared.stream.drive(|bytes| shared.read(bytes)).await;
        // A thread that read may have left it a reason.
        match (shared.reader().failed.clone(), read) {
            (Some(cause), _) | (None, Err(cause)) => cause,
            (None, Ok(())) => Disconnected::ByServer,
        }
    }

    /// Tells everyone who still waits on the connection why it ended.
    pub fn finish(self, cause: &Disconnected) {
        self.end(cause).tell();
    }

    /// Lets go of the connection; who still waits on it is to be told yet.
    pub fn end(self, cause: &Disconnected) -> Untold {
        let untold = self.shared.end(cause);
        self.shared.stream.shutdown();
        untold
    }

    /// What ends the connection on this side: for a supervisor who knows that
    /// the server has ended.
    pub fn ender(&self) -> Ender {
        Ender(Arc::clone(&self.shared))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.end(&Disconnected::ByClient).tell();
        // The clients live on, and these may hold anything, or have somebody
        // wait.
        let mut reader = self.shared.reader();
        let gone = (reader.ready.take(), reader.hook.take());
        drop(reader);
        engine::wake(|| drop(gone));
    }
}

impl Ready {
    /// Waits until commands may be sent; `false` if the connection ended
    /// first.
    pub async fn wait(&mut self) -> bool {
        (&mut self.0).await.is_ok()
    }
}

/// Takes in what was received, and shows it to whom it is to be shown.
fn receive(shared: &Shared, bytes: &[u8]) -> Result<(), ProtocolError> {
    if !shared.taps.are_there() {
        return shared.lock().connection.receive(bytes);
    }
    let mut lines = Vec::new();
    let seen = |line: &[u8]| lines.push(line.to_vec());
    let received = shared.lock().connection.receive_seen(bytes, seen);
    for line in lines {
        shared.taps.show(Direction::Received, &line);
    }
    received
}

impl Reader {
    /// Does what the connection wants done.
    fn dispatch(&mut self, shared: &Shared) {
        loop {
            let mut state = shared.lock();
            let Some(output) = state.connection.poll_output() else {
                return;
            };
            match output {
                Output::Reply { waiter, reply } => {
                    drop(state);
                    // Whoever has given up waiting needs no reply.
                    let _ = waiter.send(Ok(reply));
                }
                Output::Event(first) => {
                    // All that came together, so that a listener of a flood is
                    // locked, and woken, once for a piece of it.
                    let mut events = vec![first];
                    events.extend(std::iter::from_fn(|| state.connection.poll_event()));
                    if let Some(hook) = &mut self.hook {
                        drop(state);
                        events.iter().for_each(hook);
                        state = shared.lock();
                    }
                    let listeners = state.listeners.clone();
                    drop(state);
                    // Unlocked, for waking a listener may run code of its executor.
                    let mut gone = false;
                    for listener in listeners {
                        gone |= !listener.push(&events);
                    }
                    if gone {
                        shared
                            .lock()
                            .listeners
                            .retain(|listener| !listener.queue.is_abandoned());
                    }
                }
                Output::Transmit(bytes) => {
                    drop(state);
                    let _ = shared.send(&bytes);
                }
                Output::Ready(greeting) => {
                    drop(state);
                    if let Some(greeting) = greeting {
                        let _ = shared.greeting.set(greeting);
                    }
                    if let Some(ready) = self.ready.take() {
                        let _ = ready.send(());
                    }
                }
                Output::Stray(what) => {
                    drop(state);
                    engine::log(log::Level::Warn, module_path!(), || {
                        format!("dropped {what}")
                    });
                }
            }
        }
    }
}

impl Shared {
    /// Takes in what was received.
    fn read(&self, bytes: &[u8]) -> Result<(), Disconnected> {
        let mut reader = self.reader();
        if let Some(cause) = &reader.failed {
            return Err(cause.clone());
        }
        let received = receive(self, bytes);
        // What came before a fault counts.
        reader.dispatch(self);
        received.map_err(Disconnected::from)
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that waits for a reply reads itself, where nobody else does: that
/// is one wake-up less.
impl Source for Shared {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    fn take_over(&self, waker: &Waker) -> bool {
        self.stream.take_over(waker)
    }

    fn read(&self) -> bool {
        match self.stream.read_now(|bytes| self.read(bytes)) {
            Ok(more) => more,
            Err(cause) => {
                self.reader().failed = Some(cause);
                // The engine finds the end then, and the reason.
                self.stream.shutdown();
                false
            }
        }
    }

    fn give_back(&self) {
        self.stream.give_back();
    }
}

/// What may wait for a server that does not read.
const OUTBOX_LIMIT_BYTES: usize = 16 << 20;
