//! The reader of a connection: hands what the server sends to who waits.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use socket2::Socket;
use tokio::sync::oneshot;

use super::{Client, Disconnected, Handle, Shared, State, Untold, Witness};
use crate::Deadlines;
use crate::engine::{self, Engine, Stream};
use crate::wire::{Connection, Output, Settings};

/// Reads one connection. Whoever supervises the server runs it themselves, to
/// say in their own words why the connection ended; everyone else has
/// [`Client`]'s constructors do it.
pub struct Driver {
    shared: Arc<Shared>,
    ready: Option<oneshot::Sender<()>>,
}

/// Ends a connection whose server has ended; made by [`Driver::ender`].
pub struct Ender(Arc<Shared>);

impl Ender {
    /// Ends the connection after all that the server has sent is read. Over
    /// TCP that may be on its way still, and who shares the server's socket
    /// may keep it from coming to an end.
    pub fn end(&self) {
        self.0.stream.end();
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
    ) -> io::Result<(Client, Self, Ready)> {
        let engine = Engine::start()?;
        // Commands are small and wait for nothing. Only TCP has the option.
        let _ = socket.set_tcp_nodelay(true);
        let shared = Arc::new(Shared {
            stream: Stream::new(socket, OUTBOX_LIMIT_BYTES)?,
            state: Mutex::new(State {
                connection: Connection::new(settings),
                listeners: Vec::new(),
                ended: None,
            }),
            greeting: OnceLock::new(),
            deadlines,
            witness,
            passing: tokio::sync::Mutex::default(),
        });
        let client = Client {
            handle: Arc::new(Handle {
                shared: Arc::clone(&shared),
                engine,
            }),
        };
        let (ready, told) = oneshot::channel();
        Ok((
            client,
            Self {
                shared,
                ready: Some(ready),
            },
            Ready(told),
        ))
    }

    /// Reads until the connection ends, and gives the reason. Those who wait
    /// on it are not told before [`finish`](Self::finish).
    pub async fn run(&mut self) -> Disconnected {
        let Self { shared, ready } = self;
        // A connection without a greeting is ready, or has something to send,
        // before anything was received.
        dispatch(shared, ready);
        let receive = |bytes: &[u8]| {
            let received = shared.lock().connection.receive(bytes);
            // What came before a fault counts.
            dispatch(shared, ready);
            received.map_err(Disconnected::from)
        };
        match shared.stream.drive(receive).await {
            Ok(()) => Disconnected::ByServer,
            Err(cause) => cause,
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
    }
}

impl Ready {
    /// Waits until commands may be sent; `false` if the connection ended
    /// first.
    pub async fn wait(&mut self) -> bool {
        (&mut self.0).await.is_ok()
    }
}

fn dispatch(shared: &Shared, ready: &mut Option<oneshot::Sender<()>>) {
    loop {
        let mut state = shared.lock();
        let Some(output) = state.connection.poll_output() else {
            return;
        };
        match output {
            Output::Reply { waiter, reply } => {
                drop(state);
                engine::wake(|| waiter.send(Ok(reply)));
            }
            Output::Event(event) => {
                let listeners = state.listeners.clone();
                drop(state);
                // Unlocked, for waking a listener may run code of its executor.
                let mut gone = false;
                for listener in listeners {
                    engine::wake(|| gone |= !listener.push(&event));
                }
                if gone {
                    shared
                        .lock()
                        .listeners
                        .retain(|listener| !listener.is_abandoned());
                }
            }
            Output::Transmit(bytes) => {
                drop(state);
                let _ = shared.stream.send(&bytes);
            }
            Output::Ready(greeting) => {
                drop(state);
                if let Some(greeting) = greeting {
                    let _ = shared.greeting.set(greeting);
                }
                if let Some(ready) = ready.take() {
                    engine::wake(|| ready.send(()));
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

/// What may wait for a server that does not read.
const OUTBOX_LIMIT_BYTES: usize = 16 << 20;
