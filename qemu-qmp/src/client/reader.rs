//! The reader of a connection: passes each message to its receivers.
//!
//! It receives bytes from the socket. It sends replies to their waiters, events to
//! their listeners, and every message to the taps.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;

use qemu_qmp_engine::wait::Source;
use qemu_qmp_engine::{self as engine, Engine, Stream, TurnLock, oneshot};
use socket2::Socket;

use super::tap::{Direction, Taps, Transcript};
use super::{Client, Handle, Shared, State};
use crate::Deadlines;
use crate::Disconnected;
use crate::reader::{Connected, PeerContext, PendingNotices, Reader, ReadySignal};
use crate::wire::{Connection, Event, Greeting, Output, ProtocolError, Settings};

/// The state of the reading thread. That thread is the engine's, or that of a
/// caller that waits for a reply.
#[derive(Default)]
pub(super) struct ReadState {
    greeted: Option<oneshot::Sender<()>>,
    ready: Option<oneshot::Sender<()>>,
    hook: Option<EventHook>,
    /// Why reading has ended.
    failed: Option<Disconnected>,
}

/// Called with each event before any listener.
type EventHook = Box<dyn FnMut(&Event) + Send>;

/// A client on a connected socket. Nothing is received before the reader runs.
///
/// # Errors
/// This process has no thread or descriptor left for it.
pub(crate) fn open(
    socket: Socket,
    settings: Settings,
    deadlines: Deadlines,
    context: Arc<dyn PeerContext>,
    transcript: Option<Transcript>,
) -> io::Result<(Client, Reader, ReadySignal)> {
    let engine = Engine::start()?;
    let (greeted, has_greeted) = oneshot::channel();
    let (ready, is_ready) = oneshot::channel();
    // Commands are small and must not be delayed. Only TCP has the option.
    let _ = socket.set_tcp_nodelay(true);
    let shared = Arc::new(Shared {
        stream: Stream::new(socket, OUTBOX_LIMIT_BYTES)?,
        state: Mutex::new(State {
            connection: Connection::new(settings),
            listeners: Vec::new(),
            ended: None,
        }),
        reader: Mutex::new(ReadState {
            greeted: Some(greeted),
            ready: Some(ready),
            ..ReadState::default()
        }),
        greeting: OnceLock::new(),
        deadlines,
        context,
        taps: Taps::new(transcript),
        is_notified: Arc::default(),
        passing: TurnLock::default(),
    });
    let client = Client {
        handle: Arc::new(Handle {
            shared: Arc::clone(&shared),
            engine,
        }),
    };
    let signal = ReadySignal {
        greeted: has_greeted,
        ready: is_ready,
    };
    Ok((client, Reader::new(shared), signal))
}

/// Calls `hook` with each event, on the reading thread. The call comes before any
/// listener receives the event, and before a reply that comes after it.
pub fn on_event(client: &Client, hook: impl FnMut(&Event) + Send + 'static) {
    client.handle.shared.reader().hook = Some(Box::new(hook));
}

impl Connected for Shared {
    fn stream(&self) -> Option<&Stream> {
        Some(&self.stream)
    }

    fn read_to_end(&self) -> Pin<Box<dyn Future<Output = Disconnected> + Send + '_>> {
        Box::pin(async {
            // Without a greeting, there is output before anything was received.
            self.reader().dispatch(self);
            let read = self.stream.drive(|bytes| self.read(bytes)).await;
            // A caller's thread that read may have left a cause.
            match (self.reader().failed.clone(), read) {
                (Some(cause), _) | (None, Err(cause)) => cause,
                (None, Ok(())) => Disconnected::ByServer,
            }
        })
    }

    fn end(&self, cause: &Disconnected) -> PendingNotices {
        self.end(cause)
    }

    fn reader_is_gone(&self) {
        // The clients may outlive the reader. Drop what they must not keep alive.
        let mut reader = self.reader();
        let signals = (reader.greeted.take(), reader.ready.take());
        let gone = (signals, reader.hook.take());
        drop(reader);
        engine::wake(|| drop(gone));
    }
}

/// Receives bytes, and shows the lines to the taps.
fn receive(shared: &Shared, bytes: &[u8]) -> Result<(), ProtocolError> {
    if !shared.taps.exist() {
        return shared.lock().connection.receive(bytes);
    }
    let mut lines = Vec::new();
    let collect = |line: &[u8]| lines.push(line.to_vec());
    let received = shared.lock().connection.receive_seen(bytes, collect);
    for line in lines {
        shared.taps.show(Direction::Received, &line);
    }
    received
}

impl ReadState {
    /// Performs the connection's outputs.
    fn dispatch(&mut self, shared: &Shared) {
        loop {
            let mut state = shared.lock();
            let Some(output) = state.connection.poll_output() else {
                return;
            };
            match output {
                Output::Reply { waiter, reply } => {
                    drop(state);
                    // A waiter that has given up needs no reply.
                    let _ = waiter.send(Ok(reply));
                }
                Output::Event(first) => {
                    // All events that came together, so that in a flood a
                    // listener is locked and woken once for many.
                    let mut events = vec![first];
                    events.extend(std::iter::from_fn(|| state.connection.poll_event()));
                    if let Some(hook) = &mut self.hook {
                        drop(state);
                        events.iter().for_each(hook);
                        state = shared.lock();
                    }
                    let listeners = state.listeners.clone();
                    drop(state);
                    // Not locked: waking a listener may run its executor's code.
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
                    let greeting = state.connection.greeting().cloned();
                    drop(state);
                    let _ = shared.send(&bytes);
                    self.greeted(shared, greeting);
                }
                Output::Ready(greeting) => {
                    drop(state);
                    self.greeted(shared, greeting);
                    if let Some(ready) = self.ready.take() {
                        let _ = ready.send(());
                    }
                }
                Output::Unexpected(what) => {
                    drop(state);
                    engine::log(log::Level::Warn, module_path!(), || {
                        format!("dropped {what}")
                    });
                }
            }
        }
    }
}

impl ReadState {
    fn greeted(&mut self, shared: &Shared, greeting: Option<Greeting>) {
        if let Some(greeting) = greeting {
            let _ = shared.greeting.set(greeting);
        }
        if let Some(greeted) = self.greeted.take() {
            let _ = greeted.send(());
        }
    }
}

impl Shared {
    /// Receives bytes, and passes the messages on.
    fn read(&self, bytes: &[u8]) -> Result<(), Disconnected> {
        let mut reader = self.reader();
        if let Some(cause) = &reader.failed {
            return Err(cause.clone());
        }
        let received = receive(self, bytes);
        // The messages before an error are valid.
        reader.dispatch(self);
        received.map_err(Disconnected::from)
    }

    fn reader(&self) -> MutexGuard<'_, ReadState> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that waits for a reply may read the socket itself. That saves one
/// wake-up.
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
                // Then the engine finds the end, and this cause.
                self.stream.shutdown();
                false
            }
        }
    }

    fn give_back(&self) {
        self.stream.give_back();
    }
}

/// The limit of the queue to a server that does not read.
const OUTBOX_LIMIT_BYTES: usize = 16 << 20;
