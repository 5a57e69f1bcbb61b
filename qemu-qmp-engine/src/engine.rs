//! The one background thread of the process.
//!
//! It runs every reader, pump and timer of the crates that build on this one. So
//! sockets are read and deadlines are kept even if no caller waits. It starts with
//! the first operation, and lives as long as the process. A caller's future only
//! waits for results from the engine, so it runs under any runtime.
//!
//! Never runs a user's code, except the wakers of their executors: if one reader
//! waited for a user, the readers of all other machines would wait too.

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

/// The parts of an engine.
#[derive(Debug)]
struct Parts {
    runtime: Handle,
    timers: Timers,
    /// Lent to one waiting thread at a time. Creating and closing one takes as long
    /// as sending a command.
    bell: Arc<Bell>,
    bell_is_taken: AtomicBool,
}

/// Hides the type of the parts, for smaller debug builds. Their debug information
/// describes each type in every unit that uses it, with all its parts. Nearly every
/// type contains a reference to an engine. Without this trait, a seventh of the
/// debug information describes the runtime's types.
trait Hidden: fmt::Debug + Send + Sync {
    fn parts(&self) -> &Parts;
}

impl Hidden for Parts {
    fn parts(&self) -> &Parts {
        self
    }
}

impl Engine {
    /// The engine. The first call starts it.
    ///
    /// # Errors
    /// The thread cannot be started: no threads or descriptors are left.
    pub fn start() -> io::Result<&'static Self> {
        let mut started = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
        // A forked process has a copy of the parent's engine without its thread.
        if let Some(engine) = *started
            && engine.is_of_this_process()
        {
            return Ok(engine);
        }
        let runtime = Builder::new_current_thread()
            .enable_io()
            // In a flood, timers and other descriptors are checked after 4 turns
            // instead of the default of 61.
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

    /// Runs `task` on the engine's thread. The task may use the engine's timers
    /// and watch descriptors.
    pub fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        let (sender, output) = oneshot::channel();
        let task = async move {
            // If the handle was dropped, the output is not needed.
            let _ = sender.send(task.await);
        };
        Task::new(output, self.spawn_boxed(Box::pin(task)))
    }

    /// Boxed, so that the runtime's code is compiled once here, and not for every
    /// task in every crate.
    fn spawn_boxed(&self, task: Pin<Box<dyn Future<Output = ()> + Send>>) -> AbortHandle {
        self.hidden.parts().runtime.spawn(task).abort_handle()
    }

    pub(crate) fn timers(&self) -> &Timers {
        &self.hidden.parts().timers
    }

    /// Whether the caller runs on the engine's thread, which must not block.
    pub fn is_current_thread(&self) -> bool {
        Handle::try_current().is_ok_and(|current| current.id() == self.hidden.parts().runtime.id())
    }

    /// Whether this is the process that started the engine. A forked process has
    /// copies of the handles, but no engine. It must not use the parent's
    /// connections and machines.
    pub fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }
}

/// Calls a function that may wake a waiter. A waker is its executor's code, and its
/// panic must not end the caller.
pub fn wake<T>(waking: impl FnOnce() -> T) {
    // The program's panic hook has reported the panic.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(waking));
}

/// Wakes each of them, even if one waker panics.
pub fn wake_all(wakers: impl IntoIterator<Item = Waker>) {
    for waker in wakers {
        #[expect(
            clippy::disallowed_methods,
            reason = "guarded here, for the other modules"
        )]
        wake(|| waker.wake());
    }
}

/// A bell to wait at. Return it by [`put_bell_back`]. `None` if no descriptor or
/// thread is left.
pub(crate) fn take_bell() -> Option<Arc<Bell>> {
    let parts = Engine::start().ok()?.hidden.parts();
    if parts.bell_is_taken.swap(true, Ordering::AcqRel) {
        return Bell::new().ok().map(Arc::new);
    }
    Some(Arc::clone(&parts.bell))
}

/// Returns a bell. It may still ring for the wait that used it.
pub(crate) fn put_bell_back(bell: &Arc<Bell>) {
    let parts = started().hidden.parts();
    if Arc::ptr_eq(bell, &parts.bell) {
        parts.bell_is_taken.store(false, Ordering::Release);
    }
}

/// While the guard lives, the calling thread may watch descriptors.
pub(crate) fn enter() -> EnterGuard<'static> {
    started().hidden.parts().runtime.enter()
}

/// The engine, which the process must have started already.
pub(crate) fn started() -> &'static Engine {
    Engine::start().expect("the engine is started before a wait on it")
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

    /// A waker that panics.
    pub(crate) fn panics() -> Waker {
        Waker::from(Arc::new(Panics))
    }
}
