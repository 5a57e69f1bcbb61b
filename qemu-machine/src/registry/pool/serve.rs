//! Serves a published pool, on the engine's thread.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use qemu_qmp_engine::{self as engine, Either, Engine, PacedSocket, Task, race};
use serde_json::Value;
use socket2::Socket;

use crate::registry::lines::{self, accept, read_line};

/// What a client may ask of the pool.
pub(crate) trait PoolOwner: Send + Sync {
    /// Takes a machine. The error is for the client.
    fn take(&self) -> BoxFuture<Result<Taken, String>>;

    /// The state of the pool.
    fn status(&self) -> Value;

    /// Notifies the owner's program that the pool must end.
    fn stop(&self);
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A machine that was taken. If it is not kept, its drop ends it.
pub(crate) struct Taken {
    pub(crate) name: String,
    pub(crate) keep: Box<dyn FnOnce() + Send>,
}

/// The tasks that serve a pool. When it is dropped, they end.
pub(super) struct Server {
    /// `None` once it is closed.
    door: Option<Task<()>>,
    sessions: Arc<Sessions>,
}

#[derive(Default)]
struct Sessions {
    served: Mutex<Vec<Task<()>>>,
    /// They wait for the end.
    stoppers: Mutex<Vec<PacedSocket>>,
}

impl Server {
    /// Does not keep the pool alive.
    pub(super) fn begin(
        engine: &'static Engine,
        socket: Socket,
        owner: &Arc<dyn PoolOwner>,
    ) -> Self {
        let sessions = Arc::<Sessions>::default();
        let admitted = Arc::clone(&sessions);
        let owner = Arc::downgrade(owner);
        let door = engine.spawn(async move { admitted.admit(engine, socket, owner).await });
        Self {
            door: Some(door),
            sessions,
        }
    }

    /// Ends all sessions but those that wait for the end.
    pub(super) fn close(&mut self) {
        let Some(door) = self.door.take() else {
            return;
        };
        door.abort();
        let served = std::mem::take(&mut *lock(&self.sessions.served));
        served.iter().for_each(Task::abort);
        if Engine::start().is_ok_and(Engine::is_current_thread) {
            return;
        }
        let all = async {
            door.await;
            for session in served {
                session.await;
            }
        };
        engine::wait_at_most(CLOSING, all);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
        lock(&self.sessions.stoppers).clear();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Sessions {
    async fn admit(
        self: Arc<Self>,
        engine: &'static Engine,
        socket: Socket,
        owner: Weak<dyn PoolOwner>,
    ) {
        loop {
            let client = accept(&socket).await;
            let (sessions, owner) = (Arc::clone(&self), owner.clone());
            let session = engine.spawn(async move {
                // If it fails, the client has gone.
                if let Ok(socket) = PacedSocket::new(client) {
                    let _ = sessions.serve(socket, &owner).await;
                }
            });
            let mut served = lock(&self.served);
            served.retain(|session| !session.is_finished());
            served.push(session);
        }
    }

    /// Does what the client asks for.
    async fn serve(&self, socket: PacedSocket, owner: &Weak<dyn PoolOwner>) -> io::Result<()> {
        let request = read_line(&socket).await?;
        let owner = || owner.upgrade().ok_or(io::ErrorKind::BrokenPipe);
        let answer = match request.as_str() {
            TAKE => {
                let taking = owner()?.take();
                return take(&socket, taking).await;
            }
            STATUS => Ok(owner()?.status()),
            STOP => {
                lock(&self.stoppers).push(socket);
                owner()?.stop();
                return Ok(());
            }
            _ => Err("it has no such request".to_owned()),
        };
        lines::answer(&socket, &answer).await
    }
}

/// Hands out a machine. The client confirms that it has the name.
async fn take(socket: &PacedSocket, taking: BoxFuture<Result<Taken, String>>) -> io::Result<()> {
    let gone = socket.hung_up();
    let taken = match race(taking, gone).await {
        Either::Left(Ok(taken)) => taken,
        Either::Left(Err(reason)) => return lines::answer(socket, &Err(reason)).await,
        Either::Right(()) => return Ok(()),
    };
    lines::answer(socket, &Ok(taken.name.into())).await?;
    let mut confirmed = [0];
    if socket.read(&mut confirmed).await? == CONFIRMED.len() {
        (taken.keep)();
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The requests.
pub(super) const TAKE: &str = "take";
pub(super) const STATUS: &str = "status";
pub(super) const STOP: &str = "stop";

/// What a client sends when it has the name of its machine.
pub(super) const CONFIRMED: &[u8] = b"\n";

/// How long the end of a pool waits for the tasks, which end at their next wait.
const CLOSING: Duration = Duration::from_secs(1);
