//! The one background thread of the process.
//!
//! It runs every reader, pump and timer of the crates that build on this one.
//! So sockets are drained and deadlines kept, whether or not a caller waits.
//! It starts when it is first needed, and lives as long as the process.
//! A caller's future only waits for what the engine hands it, so it needs no
//! runtime of the caller's.
//!
//! Never runs a user's code, except the wakers of their executors: a reader
//! that waits for a user would stop every other machine's.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio::task::AbortHandle;

use crate::oneshot;
use crate::task::Task;
use crate::timers::Timers;
use crate::watch::Bell;

/// The process's engine.
#[derive(Debug)]
pub struct Engine {
    hidden: Arc<dyn Hidden>,
    process: u32,
}

/// What an engine runs on.
#[derive(Debug)]
struct Parts {
    runtime: Handle,
    timers: Timers,
    /// Kept for one thread at a time that waits at it: to make and close one
    /// takes as long as to send a command.
    bell: Arc<Bell>,
    bell_is_taken: AtomicBool,
}

/// A hidden type. A debug build describes all that a type is made of in each
/// unit of code that has to do with it, and nearly every type leads to an
/// engine: were its parts not hidden, a seventh of what is written would
/// describe the runtime's inside.
trait Hidden: fmt::Debug + Send + Sync {
    fn parts(&self) -> &Parts;
}

impl Hidden for Parts {
    fn parts(&self) -> &Parts {
        self
    }
}

impl Engine {
    /// The engine, started now if it was not yet.
    ///
    /// # Errors
    /// The thread cannot be started: no threads or descriptors are left.
    pub fn start() -> io::Result<&'static Self> {
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        // A fork without exec has a copy of the parent's, but not its thread.
        if let Some(engine) = *started
            && engine.is_of_this_process()
        {
            return Ok(engine);
        }
        let runtime = Builder::new_current_thread()
            .enable_io()
            // Whatever floods, deadlines and other descriptors are looked at
            // after a few of its turns, and not after 61 as it is by default.
            .event_interval(4)
            .build()?;
        let timers = {
            let _within = runtime.enter();
            Timers::new()?
        };
        let parts = Arc::new(Parts {
            runtime: runtime.handle().clone(),
            timers,
            bell: Arc::new(Bell::new()?),
            bell_is_taken: AtomicBool::new(false),
        });
        let runner = Arc::clone(&parts);
        std::thread::Builder::new()
            .name("qemu-engine".to_owned())
            .spawn(move || runtime.block_on(runner.timers.run()))?;
        let engine: &'static Self = Box::leak(Box::new(Self {
            hidden: parts,
            process: std::process::id(),
        }));
        *started = Some(engine);
        Ok(engine)
    }

    /// Runs `task` on the engine's thread. Everything that the task makes
    /// within may use the engine's readiness and timers.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        let (told, output) = oneshot::channel();
        let task = async move {
            // Whoever dropped the handle does not want it.
            let _ = told.send(task.await);
        };
        Task::new(output, self.spawn_boxed(Box::pin(task)))
    }

    /// Boxed, so that the runtime's machinery is compiled here, once, and not
    /// again for every task in every crate.
    fn spawn_boxed(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) -> AbortHandle {
        self.hidden.parts().runtime.spawn(task).abort_handle()
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.hidden.parts().timers
    }

    /// Whether the caller runs on the engine's thread, where nothing may wait.
    pub fn is_current_thread(&self) -> bool {
        Handle::try_current().is_ok_and(|current| current.id() == self.hidden.parts().runtime.id())
    }

    /// Whether this is the process that started the engine. A fork without
    /// exec has a copy of every handle, but no engine: it must not touch what
    /// the handles stand for.
    pub fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }
}

/// Does what may wake somebody who waits, on the engine. A waker is its
/// executor's code, and its panic must not end who woke it.
pub fn wake<T>(waking: impl FnOnce() -> T) {
    // The panic itself has been told by the program's hook.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(waking));
}

/// Wakes each of them, also where the waker of one panics.
pub fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        #[expect(clippy::disallowed_methods, reason = "guarded here, for all others")]
        wake(|| waker.wake());
    }
}

/// A bell to wait at, to be [put back](put_bell_back); `None` without a
/// descriptor for it.
pub(crate) fn take_bell() -> Option<Arc<Bell>> {
    let parts = Engine::start().ok()?.hidden.parts();
    if parts.bell_is_taken.swap(true, Ordering::AcqRel) {
        return Bell::new().ok().map(Arc::new);
    }
    Some(Arc::clone(&parts.bell))
}

/// It may still ring for who waited at it.
pub(crate) fn put_bell_back(bell: &Arc<Bell>) {
    let parts = started().hidden.parts();
    if Arc::ptr_eq(bell, &parts.bell) {
        parts.bell_is_taken.store(false, Ordering::Release);
    }
}

/// Within this, the calling thread may use the runtime's readiness.
pub(crate) fn enter() -> EnterGuard<'static> {
    started().hidden.parts().runtime.enter()
}

/// The engine of a process that must have started it already.
pub(crate) fn started() -> &'static Engine {
    Engine::start().expect("the engine was started before anything that waits on it")
}

static STARTED: Mutex<Option<&'static Engine>> = Mutex::new(None);

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;
    use std::task::{Wake, Waker};

    struct Panics;

    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker that panics");
        }
    }

    /// The waker of an executor that fails its users.
    pub(crate) fn panics() -> Waker {
        Waker::from(Arc::new(Panics))
    }
}
