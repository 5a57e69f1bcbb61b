//! Who reads a socket: the engine, or for a while a thread that waits for what
//! comes by it, and is so spared one change of the thread.
//!
//! ```text
//!          begin            take_over
//! Nobody --------> Engine ------------> Thread
//!    ^             |    ^                 |
//!    `----- end ---'    `---- give_back --'
//! ```
//!
//! Never lets two read at once, and never lets the engine wait for a thread:
//! while one reads, the engine does not even watch the socket.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use socket2::Socket;
use tokio::runtime::Handle;
use tokio::task::unconstrained;

use super::watch::{SharedWatch, watch_shared};

#[derive(Debug, Default)]
pub(super) struct Reading(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    who: Who,
    /// Whose engine it is.
    process: u32,
    /// Of the task that reads on the engine.
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
enum Who {
    #[default]
    Nobody,
    Engine(SharedWatch),
    Thread,
    /// A thread has read, and the engine cannot watch the socket again.
    Failed(io::Error),
}

impl Reading {
    /// The engine reads from now on, until the result is dropped. To be called
    /// there.
    pub(super) fn begin(&self, socket: &Arc<Socket>) -> io::Result<EngineReads<'_>> {
        let watch = watch_shared(Arc::clone(socket))?;
        let mut state = self.lock();
        state.who = Who::Engine(watch);
        state.process = std::process::id();
        drop(state);
        Ok(EngineReads(self))
    }

    /// Has the calling thread read from now on, if the engine does now, and is
    /// not just about it.
    pub(super) fn take_over(&self) -> bool {
        // At a thread's end it could not give it back.
        if Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed()) {
            return false;
        }
        let Ok(mut state) = self.0.try_lock() else {
            return false;
        };
        // A fork without exec would have its parent's engine watch no longer.
        if !matches!(state.who, Who::Engine(_)) || state.process != std::process::id() {
            return false;
        }
        state.who = Who::Thread;
        true
    }

    /// Whether a thread reads still: the end takes that from it.
    pub(super) fn is_by_thread(&self) -> bool {
        matches!(self.lock().who, Who::Thread)
    }

    /// Has the engine read again, without a wake-up of it if there is nothing
    /// to be read. To be called within the engine's runtime.
    pub(super) fn give_back(&self, socket: &Arc<Socket>) {
        let mut state = self.lock();
        if !matches!(state.who, Who::Thread) {
            // The engine has ended its task meanwhile.
            return;
        }
        let woken = match watch_shared(Arc::clone(socket)) {
            Ok(watch) => {
                // The share that a task has in a turn is not asked for: it is
                // its own, and it may be what waits here.
                let is_ready = poll_fn(|context| watch.poll_read_ready(context).map(drop));
                let mut is_ready = pin!(unconstrained(is_ready));
                let ready = state.waker.take_if(|waker| {
                    let mut context = Context::from_waker(waker);
                    is_ready.as_mut().poll(&mut context).is_ready()
                });
                state.who = Who::Engine(watch);
                ready
            }
            Err(error) => {
                state.who = Who::Failed(error);
                state.waker.take()
            }
        };
        drop(state);
        woken.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nobody reads any more when it is dropped.
pub(super) struct EngineReads<'a>(&'a Reading);

impl EngineReads<'_> {
    /// Waits until there is something that the engine is to read, and lets
    /// `turn` read it; that says whether there may be more.
    pub(super) async fn turn<T>(&self, mut turn: impl FnMut() -> (T, bool)) -> io::Result<T> {
        poll_fn(|context| self.poll_turn(context, &mut turn)).await
    }

    fn poll_turn<T>(
        &self,
        context: &mut Context<'_>,
        turn: &mut impl FnMut() -> (T, bool),
    ) -> Poll<io::Result<T>> {
        let mut state = self.0.lock();
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        let watch = match &state.who {
            Who::Engine(watch) => watch,
            Who::Failed(error) => return Poll::Ready(Err(error.kind().into())),
            Who::Thread | Who::Nobody => return Poll::Pending,
        };
        let mut readable = ready!(watch.poll_read_ready(context))?;
        // Locked, so that no thread begins to read meanwhile.
        let (outcome, may_be_more) = turn();
        if !may_be_more {
            readable.clear_ready();
        }
        Poll::Ready(Ok(outcome))
    }
}

impl Drop for EngineReads<'_> {
    fn drop(&mut self) {
        let ended = std::mem::take(&mut *self.0.lock());
        drop(ended);
    }
}
