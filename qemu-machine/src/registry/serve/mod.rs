//! Serves a published machine to other programs, on the engine's thread: whether
//! the owner's program waits or not.
//!
//! ```text
//! client --qmp-----> Session -----> the owner's monitor ---> QEMU
//! client --agent---> one command after the other ----------> guest agent
//! client --console-> the ring, then live <-----------------> console
//! ```
//!
//! A client costs only itself: it is read when it may be served, and left when it
//! does not read what it asked for. The server keeps no machine alive.

mod agent;
mod console;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
mod json_stream;
mod qmp;
mod request;
mod session;

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use qemu_qmp::Client;
use qemu_qmp::agent::GuestAgent;
use qemu_qmp_engine::{self as engine, Either, Engine, PacedSocket, Task, Watched, race};
use socket2::{Domain, SockAddr, Socket, Type};

use super::RegistryError;
use super::entry::Entry;
use crate::console::Console;
use crate::life::{ExitReport, GuestState, Ladder};

/// The machine behind the sockets.
pub(crate) struct Served {
    pub(crate) entry: Entry,
    pub(crate) started: Instant,
    /// `None` if the machine has no monitor.
    pub(crate) monitor: Option<Client>,
    pub(crate) agent: Option<GuestAgent>,
    /// Those that have a socket, with their names.
    pub(crate) consoles: Vec<(Option<String>, Console)>,
    pub(crate) quit_timeout: Option<Duration>,
    pub(crate) terminate_timeout: Duration,
    pub(crate) owner: Box<dyn Owner>,
}

/// What the server may ask of the machine's supervisor.
pub(crate) trait Owner: Send + Sync {
    /// Ends the machine by this ladder.
    fn end(&self, ladder: Ladder);

    /// The state of the guest.
    fn guest(&self) -> GuestState;

    /// Waits until the killed process does not end.
    fn unkillable(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The purpose of a socket.
#[derive(Debug, Clone)]
pub(super) enum Door {
    Qmp,
    Agent,
    /// With the console's name; `None` is the first one.
    Console(Option<String>),
}

/// A socket that listens. Its clients wait until it is served.
#[derive(Debug)]
pub(super) struct Listening {
    door: Door,
    socket: Socket,
    path: PathBuf,
}

impl Listening {
    pub(super) fn at(path: &Path, door: Door) -> Result<Self, RegistryError> {
        Ok(Self {
            socket: bound(path)?,
            door,
            path: path.to_owned(),
        })
    }
}

/// A socket that listens at this path.
pub(super) fn bound(path: &Path) -> Result<Socket, RegistryError> {
    let listen = || -> io::Result<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    listen().map_err(RegistryError::file("listen on", path))
}

/// Whether the clients are served.
#[derive(Debug, Clone, Default)]
enum Closing {
    #[default]
    Open,
    /// The machine has ended: each client gets the rest.
    Ended(Arc<ExitReport>),
    /// Its supervisor failed.
    Abandoned,
}

/// Waits until the clients are served no more.
async fn closed(closing: &Watched<Closing>) -> Closing {
    let closed = |closing: &Closing| match closing {
        Closing::Open => None,
        closed => Some(closed.clone()),
    };
    closing.until(closed).await
}

/// The tasks that serve a machine. When it is dropped, they end.
pub(super) struct Server {
    shared: Arc<Shared>,
    doors: Vec<Task<()>>,
}

struct Shared {
    engine: &'static Engine,
    served: Served,
    closing: Watched<Closing>,
    sessions: Mutex<Vec<Task<()>>>,
}

impl Server {
    pub(super) fn begin(engine: &'static Engine, sockets: Vec<Listening>, served: Served) -> Self {
        let shared = Arc::new(Shared {
            engine,
            served,
            closing: Watched::default(),
            sessions: Mutex::default(),
        });
        let doors = sockets.into_iter().map(|socket| {
            let shared = Arc::clone(&shared);
            engine.spawn(async move { shared.admit(socket).await })
        });
        Self {
            doors: doors.collect(),
            shared,
        }
    }

    /// Sends each client what is left, and closes everything. A client that does
    /// not read it in time is left.
    pub(super) async fn end(mut self, report: &Arc<ExitReport>) {
        self.shared.closing.set(Closing::Ended(Arc::clone(report)));
        for door in std::mem::take(&mut self.doors) {
            door.await;
        }
        let mut sessions = std::mem::take(&mut *self.shared.sessions());
        let all = async {
            while let Some(session) = sessions.last_mut() {
                session.await;
                sessions.pop();
            }
        };
        if engine::timeout(Some(GRACE), all).await.is_err() {
            sessions.iter().for_each(Task::abort);
            for session in sessions {
                session.await;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.closing.change(|closing| {
            if let Closing::Open = closing {
                *closing = Closing::Abandoned;
            }
        });
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Shared {
    /// Accepts clients until the end.
    async fn admit(self: Arc<Self>, listening: Listening) {
        let mut served = Vec::new();
        loop {
            let accepted = engine::accept(&listening.socket);
            let client = match race(closed(&self.closing), accepted).await {
                Either::Left(_) => return,
                Either::Right(Ok(client)) => client,
                Either::Right(Err(error)) => {
                    engine::log(log::Level::Warn, module_path!(), || {
                        format!(
                            "cannot accept a client on {}: {error}",
                            listening.path.display()
                        )
                    });
                    // No descriptor is left, and nothing reports when one is free.
                    let paused = race(closed(&self.closing), engine::pause(SHORTAGE));
                    drop(paused.await);
                    continue;
                }
            };
            served.retain(|ended: &Arc<Watched<bool>>| !ended.look(|it| *it));
            if served.len() >= CLIENTS {
                engine::log(log::Level::Warn, module_path!(), || {
                    let path = listening.path.display();
                    format!("left a client on {path}: it has {CLIENTS} clients already")
                });
                continue;
            }
            let has_ended = Arc::new(Watched::new(false));
            served.push(Arc::clone(&has_ended));
            let (shared, door) = (Arc::clone(&self), listening.door.clone());
            let session = self.engine.spawn(async move {
                let _ended = EndsWhenDropped(has_ended);
                shared.serve(&door, client).await;
            });
            let mut sessions = self.sessions();
            sessions.retain(|session| !session.is_finished());
            sessions.push(session);
        }
    }

    async fn serve(&self, door: &Door, client: Socket) {
        let Ok(socket) = PacedSocket::new(client) else {
            // No watch is left: the client sees the end.
            return;
        };
        let (served, closing) = (&self.served, &self.closing);
        let served = match door {
            Door::Qmp => qmp::serve(&socket, served, closing).await,
            Door::Agent => match &served.agent {
                Some(agent) => agent::serve(&socket, agent, closing).await,
                None => Ok(()),
            },
            Door::Console(name) => match served.consoles.iter().find(|it| it.0 == *name) {
                Some((_, console)) => console::serve(&socket, console, closing).await,
                None => Ok(()),
            },
        };
        // If it failed, the client has gone.
        drop(served);
        socket.shutdown();
    }

    fn sessions(&self) -> std::sync::MutexGuard<'_, Vec<Task<()>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct EndsWhenDropped(Arc<Watched<bool>>);

impl Drop for EndsWhenDropped {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// Waits for `work` while the clients are served and this one has not hung up.
/// `None` if that ends first.
async fn while_there<T>(
    socket: &PacedSocket,
    closing: &Watched<Closing>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let gone = pin!(race(closed(closing), socket.hung_up()));
    match race(work, gone).await {
        Either::Left(done) => Some(done),
        Either::Right(_) => None,
    }
}

/// How many bytes of a client are read at once.
const PIECE_BYTES: usize = 16 << 10;

/// How many clients one socket serves at once.
const CLIENTS: usize = 64;

/// How many clients wait to be accepted.
const BACKLOG: i32 = 64;

/// How long the end of a machine waits for clients to read the rest. A client
/// that reads needs no time.
const GRACE: Duration = Duration::from_millis(200);

/// The pause before the next client is accepted when no descriptor is left.
const SHORTAGE: Duration = Duration::from_millis(10);
