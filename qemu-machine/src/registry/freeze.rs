//! Freezes a published machine: the owner's side, and that of other programs.
//!
//! ```text
//! client --{"path", "name"}--> NAME/freeze (owner, engine) --> Machine::freeze
//! client <--{"return"} or {"error"}--
//! ```
//!
//! A machine that was not launched so has no such socket.

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp_engine::{
    self as engine, Either, Elapsed, Engine, PacedSocket, Watched, operation, race, timeout_option,
};
use serde_json::{Value, json};
use socket2::Socket;

use super::lines::{self, accept, connect, is_gone, on_engine, read_line};
use super::operation::PublishedError;
use super::places::Places;
use super::serve::bound;
use super::{PublishedMachine, RegistryError, name};
use crate::process::place::absolute;

/// Freezes a published machine; made by [`PublishedMachine::freeze`].
///
/// # Errors
/// [`PublishedError::NotFreezable`], if its owner offers no freeze.
/// [`PublishedError::NotFrozen`], with the owner's reason: the guest goes on.
/// Otherwise see [`PublishedError`].
///
/// # Cancel safety
/// If the future is dropped, the guest goes on, unless it has ended by then.
#[derive(Debug, Clone)]
#[must_use = "nothing is frozen until awaited or waited for"]
pub struct FreezePublished {
    machine: PublishedMachine,
    request: FreezeRequest,
    timeout: Option<Duration>,
}

/// Where a guest is to be kept.
#[derive(Debug, Clone)]
pub(crate) struct FreezeRequest {
    pub(crate) path: PathBuf,
    /// The name of the template, if it is another one than the machine's.
    pub(crate) name: Option<String>,
}

timeout_option!(FreezePublished, timeout);

operation!(FreezePublished => Result<(), PublishedError>);

impl PublishedMachine {
    /// Freezes the guest, keeps it at this path, and ends the machine, as
    /// [`Machine::freeze`](crate::Machine::freeze) does. The owner must
    /// [offer](crate::Machine::offer_freeze) it. The path must not exist, and be
    /// on the file system of the machine's private directory.
    pub fn freeze(&self, path: impl AsRef<Path>) -> FreezePublished {
        FreezePublished {
            machine: self.clone(),
            request: FreezeRequest {
                path: absolute(path),
                name: None,
            },
            timeout: Some(FREEZING),
        }
    }
}

impl FreezePublished {
    /// Sets the name of the template, instead of the machine's.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.request.name = Some(name.into());
        self
    }

    async fn run(self) -> Result<(), PublishedError> {
        let Self {
            machine,
            request,
            timeout,
        } = self;
        let socket = machine.folder().join(SOCKET);
        let exchange = async move {
            let socket = connect(&socket).await.map_err(Unfrozen::NotConnected)?;
            let answer = lines::ask(&socket, &request.to_json().to_string()).await;
            answer.map_err(Unfrozen::NotAnswered)
        };
        let name = || machine.name().to_owned();
        let ended = || PublishedError::Ended { name: name() };
        let exchanged = on_engine(timeout, exchange).await;
        match exchanged.map_err(|_| ended())? {
            Ok(Ok(answer)) => answer
                .map(drop)
                .map_err(|reason| PublishedError::NotFrozen {
                    name: name(),
                    reason,
                }),
            Ok(Err(Unfrozen::NotConnected(error))) if is_gone(&error) && machine.is_alive() => {
                Err(PublishedError::NotFreezable { name: name() })
            }
            Ok(Err(Unfrozen::NotConnected(error) | Unfrozen::NotAnswered(error)))
                if !is_gone(&error) =>
            {
                Err(PublishedError::NotFrozen {
                    name: name(),
                    reason: error.to_string(),
                })
            }
            Ok(Err(_)) => Err(ended()),
            Err(Elapsed(limit)) => Err(PublishedError::Timeout {
                name: name(),
                owner_pid: machine.entry().owner_pid,
                limit,
            }),
        }
    }
}

enum Unfrozen {
    NotConnected(io::Error),
    NotAnswered(io::Error),
}

impl FreezeRequest {
    fn to_json(&self) -> Value {
        json!({"path": self.path.to_string_lossy(), "name": self.name})
    }

    fn of_json(value: &Value) -> Option<Self> {
        Some(Self {
            path: value["path"].as_str()?.into(),
            name: value["name"].as_str().map(str::to_owned),
        })
    }
}

/// Freezes the machine. The error is for the client.
pub(crate) type Freezer =
    Box<dyn Fn(FreezeRequest) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send>> + Send>;

/// The socket of a machine of this process, whose guest others may freeze. Its
/// drop waits for a freeze that is under way.
pub(crate) struct FreezeDoor {
    engine: &'static Engine,
    state: Arc<DoorState>,
}

/// What the door's task and its owner tell each other.
#[derive(Default)]
pub(crate) struct DoorState {
    is_closing: Watched<bool>,
    is_closed: Watched<bool>,
}

impl DoorState {
    /// Takes no more requests, and waits for the freeze that is under way.
    pub(crate) async fn close(&self) {
        self.is_closing.set(true);
        self.is_closed.until(|&it| it.then_some(())).await;
    }
}

impl FreezeDoor {
    /// Opens it in the folder of the machine with this name.
    pub(crate) fn open(
        engine: &'static Engine,
        name: &str,
        freezer: Freezer,
    ) -> Result<Self, RegistryError> {
        let places = Places::of_this_user();
        let socket = bound(&name::socket_path(&places.own()?.join(name), SOCKET)?)?;
        let state = Arc::new(DoorState::default());
        let served = Arc::clone(&state);
        engine.spawn(async move {
            serve(socket, freezer, &served.is_closing).await;
            served.is_closed.set(true);
        });
        Ok(Self { engine, state })
    }

    pub(crate) fn state(&self) -> Arc<DoorState> {
        Arc::clone(&self.state)
    }
}

impl Drop for FreezeDoor {
    fn drop(&mut self) {
        self.state.is_closing.set(true);
        if self.engine.is_of_this_process() && !self.engine.is_current_thread() {
            engine::wait_at_most(FREEZING, self.state.close());
        }
    }
}

impl fmt::Debug for FreezeDoor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreezeDoor").finish_non_exhaustive()
    }
}

/// Serves one client after the other: a guest is frozen once.
async fn serve(socket: Socket, freezer: Freezer, closing: &Watched<bool>) {
    loop {
        let closed = closing.until(|&it| it.then_some(()));
        let request = match race(closed, next_request(&socket)).await {
            Either::Left(()) => return,
            Either::Right(request) => request,
        };
        let Ok((client, request)) = request else {
            continue;
        };
        // A client sends no second line: it has gone, and wants no template.
        let answer = match race(freezer(request), read_line(&client)).await {
            Either::Left(frozen) => frozen.map(|()| json!({})),
            Either::Right(_) => continue,
        };
        // If it fails, the client has gone.
        let _ = lines::answer(&client, &answer).await;
    }
}

async fn next_request(socket: &Socket) -> io::Result<(PacedSocket, FreezeRequest)> {
    let client = PacedSocket::new(accept(socket).await)?;
    let line = engine::timeout(Some(ASKING), read_line(&client)).await;
    let line = line.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    let value: Value = serde_json::from_str(&line).unwrap_or_default();
    match FreezeRequest::of_json(&value) {
        Some(request) => Ok((client, request)),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

const SOCKET: &str = "freeze";

/// How long the saving of a guest may take.
const FREEZING: Duration = Duration::from_secs(120);

/// How long a client has to send its line.
const ASKING: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Reports its drop.
    struct Reports(mpsc::Sender<()>);

    impl Drop for Reports {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }

    #[test]
    fn a_guest_goes_on_if_the_client_has_gone() {
        let path = std::env::temp_dir().join(format!("freeze-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let socket = bound(&path).unwrap();
        let (begun, begins) = mpsc::channel();
        let (ended, ends) = mpsc::channel();
        let freezer: Freezer = Box::new(move |_| {
            let reports = Reports(ended.clone());
            begun.send(()).unwrap();
            Box::pin(async move {
                let _reports = reports;
                std::future::pending().await
            })
        });
        let closing = Arc::new(Watched::new(false));
        let engine = Engine::start().unwrap();
        let watched = Arc::clone(&closing);
        let task = engine.spawn(async move { serve(socket, freezer, &watched).await });
        let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let request = FreezeRequest {
            path: "/nowhere".into(),
            name: None,
        };
        let line = format!("{}\n", request.to_json());
        std::io::Write::write_all(&mut client, line.as_bytes()).unwrap();
        begins.recv_timeout(ASKING).unwrap();
        assert!(ends.try_recv().is_err());
        drop(client);
        ends.recv_timeout(ASKING).unwrap();
        closing.set(true);
        drop(task);
        std::fs::remove_file(&path).unwrap();
    }
}
