//! The reader of a socket: the engine, or for a while a thread that waits for data of
//! the socket. The thread then saves one switch of threads.
//!
//! ```text
//!          begin            take_over           recall
//! Nobody --------> Engine ------------> Thread <------- (engine)
//!    ^             |    ^                 |
//!    `----- end ---'    `---- give_back --'
//! ```
//!
//! Never lets two read at the same time, and never lets the engine block for a
//! thread. While a thread reads, the engine does not watch the socket.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use socket2::Socket;
use tokio::runtime::Handle;
use tokio::task::unconstrained;

use crate::timers::until_a_shortage_may_be_over;
use crate::watch::{SharedWatch, watch_shared};

#[derive(Debug, Default)]
pub(crate) struct Reading(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    who: Who,
    /// The process of the engine.
    process: u32,
    /// The waker of the task that reads on the engine.
    waker: Option<Waker>,
    /// The wakers of the waiters until a thread has given the socket back.
    recalls: Vec<Waker>,
}

#[derive(Debug, Default)]
enum Who {
    #[default]
    Nobody,
    Engine(SharedWatch),
    /// A thread. This waker asks it to give the socket back.
    Thread(Waker),
    /// The engine, which cannot watch the socket yet: no memory or no watch is
    /// left.
    Unwatched,
}

impl Reading {
    /// Makes the engine the reader until the result is dropped. Call it on the
    /// engine.
    pub(crate) fn begin(&self, socket: &Arc<Socket>) -> io::Result<EngineReads<'_>> {
        let watch = watch_shared(Arc::clone(socket))?;
        let mut state = self.lock();
        state.who = Who::Engine(watch);
        state.process = std::process::id();
        drop(state);
        let socket = Arc::clone(socket);
        Ok(EngineReads {
            reading: self,
            socket,
        })
    }

    /// Makes the calling thread the reader, if the engine is the reader and does
    /// not read just now. The thread must give the socket back when the waker is
    /// woken.
    pub(crate) fn take_over(&self, waker: &Waker) -> bool {
        // A thread that ends could not give it back.
        if Handle::try_current().is_err_and(|error| error.is_thread_local_destroyed()) {
            return false;
        }
        let Ok(mut state) = self.0.try_lock() else {
            return false;
        };
        // A forked process would stop the watch of its parent's engine.
        if !matches!(state.who, Who::Engine(_)) || state.process != std::process::id() {
            return false;
        }
        state.who = Who::Thread(waker.clone());
        true
    }

    /// Whether a thread is the reader. The end of the connection ends that.
    pub(crate) fn is_by_thread(&self) -> bool {
        matches!(self.lock().who, Who::Thread(_))
    }

    /// Makes the engine the reader again. The engine is woken only if there is data
    /// to read. Call it within the engine's runtime.
    pub(crate) fn give_back(&self, socket: &Arc<Socket>) {
        let mut state = self.lock();
        if !matches!(state.who, Who::Thread(_)) {
            // The engine's task has ended.
            return;
        }
        let recalls = std::mem::take(&mut state.recalls);
        let woken = if let Ok(watch) = watch_shared(Arc::clone(socket)) {
            // Without tokio's budget: the caller may itself run in a task that has
            // used up its budget.
            let is_ready = poll_fn(|context| watch.poll_read_ready(context).map(drop));
            let mut is_ready = pin!(unconstrained(is_ready));
            let ready = state.waker.take_if(|waker| {
                let mut context = Context::from_waker(waker);
                is_ready.as_mut().poll(&mut context).is_ready()
            });
            state.who = Who::Engine(watch);
            ready
        } else {
            state.who = Who::Unwatched;
            state.waker.take()
        };
        drop(state);
        crate::wake_all(woken.into_iter().chain(recalls));
    }

    /// Makes a reading thread give the socket back, and waits for that. The thread
    /// has then passed on all that it read.
    pub(crate) async fn recall(&self) {
        poll_fn(|context| {
            let mut state = self.lock();
            let Who::Thread(waker) = &state.who else {
                return Poll::Ready(());
            };
            let waker = waker.clone();
            state.recalls.push(context.waker().clone());
            drop(state);
            crate::wake_all([waker]);
            Poll::Pending
        })
        .await;
    }

    /// The result of `look`, if no thread is the reader. Call it on the engine.
    pub(crate) fn while_none_reads<T>(&self, look: impl FnOnce() -> T) -> Option<T> {
        let state = self.lock();
        (!matches!(state.who, Who::Thread(_))).then(look)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine's right to read. Dropped, the socket has no reader.
pub(crate) struct EngineReads<'a> {
    reading: &'a Reading,
    socket: Arc<Socket>,
}

impl EngineReads<'_> {
    /// Waits until there is data for the engine, and calls `turn` to read it.
    /// `turn` also returns whether there may be more.
    pub(crate) async fn turn<T>(&self, mut turn: impl FnMut() -> (T, bool)) -> io::Result<T> {
        loop {
            let outcome = poll_fn(|context| self.poll_turn(context, &mut turn)).await?;
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
            until_a_shortage_may_be_over().await;
            self.watch_again();
        }
    }

    /// `None` if the socket is not watched.
    fn poll_turn<T>(
        &self,
        context: &mut Context<'_>,
        turn: &mut impl FnMut() -> (T, bool),
    ) -> Poll<io::Result<Option<T>>> {
        let mut state = self.reading.lock();
        match &mut state.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        let watch = match &state.who {
            Who::Engine(watch) => watch,
            Who::Unwatched => return Poll::Ready(Ok(None)),
            Who::Thread(_) | Who::Nobody => return Poll::Pending,
        };
        let mut readable = ready!(watch.poll_read_ready(context))?;
        // Locked, so that no thread becomes the reader during the turn.
        let (outcome, may_be_more) = turn();
        if !may_be_more {
            readable.clear_ready();
        }
        Poll::Ready(Ok(Some(outcome)))
    }

    fn watch_again(&self) {
        let mut state = self.reading.lock();
        if let (Who::Unwatched, Ok(watch)) = (&state.who, watch_shared(Arc::clone(&self.socket))) {
            state.who = Who::Engine(watch);
        }
    }
}

impl Drop for EngineReads<'_> {
    fn drop(&mut self) {
        let ended = std::mem::take(&mut *self.reading.lock());
        crate::wake_all(ended.recalls);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::task::Wake;

    use socket2::{Domain, Type};

    use super::*;
    use crate::Engine;

    struct Tells(Sender<()>);

    impl Wake for Tells {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    /// A socket of the engine that a thread has taken over.
    struct Taken {
        reading: Arc<Reading>,
        socket: Arc<Socket>,
        peer: Socket,
        /// The bytes that the engine reads.
        read: Receiver<u8>,
        is_recalled: Receiver<()>,
    }

    impl Taken {
        fn new() -> Self {
            let (socket, peer) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let (reading, socket) = (Arc::new(Reading::default()), Arc::new(socket));
            let (its_reading, its_socket) = (Arc::clone(&reading), Arc::clone(&socket));
            let (begun, has_begun) = mpsc::channel();
            let (tell, read) = mpsc::channel();
            Engine::start().unwrap().spawn(async move {
                let reads = its_reading.begin(&its_socket).unwrap();
                begun.send(()).unwrap();
                loop {
                    let mut byte = [0];
                    let turn = || {
                        let count = (&*its_socket).read(&mut byte);
                        let may_be_more = count.is_ok();
                        (count, may_be_more)
                    };
                    match reads.turn(turn).await.unwrap() {
                        Ok(0) => return,
                        Ok(_) => tell.send(byte[0]).unwrap(),
                        Err(_) => {}
                    }
                }
            });
            has_begun.recv().unwrap();
            let (recall, is_recalled) = mpsc::channel();
            // The engine may read just now.
            while !reading.take_over(&Waker::from(Arc::new(Tells(recall.clone())))) {
                std::thread::yield_now();
            }
            Self {
                reading,
                socket,
                peer,
                read,
                is_recalled,
            }
        }

        fn give_back(&self, socket: &Arc<Socket>) {
            let _within = crate::engine::enter();
            self.reading.give_back(socket);
        }
    }

    #[test]
    fn a_thread_is_asked_for_what_it_reads_and_waited_for() {
        let mut taken = Taken::new();
        taken.peer.write_all(b"a").unwrap();
        let reading = Arc::clone(&taken.reading);
        let (tell, recalled) = mpsc::channel();
        Engine::start().unwrap().spawn(async move {
            reading.recall().await;
            tell.send(reading.while_none_reads(|| ()).is_some())
                .unwrap();
        });
        taken.is_recalled.recv().unwrap();
        assert!(recalled.try_recv().is_err());
        assert!(taken.reading.while_none_reads(|| ()).is_none());
        taken.give_back(&taken.socket);
        assert!(recalled.recv().unwrap());
        assert_eq!(taken.read.recv(), Ok(b'a'));
    }

    #[test]
    fn a_socket_that_cannot_be_watched_now_is_watched_later() {
        let mut taken = Taken::new();
        // A file on a disk cannot be watched.
        let file = OwnedFd::from(File::open("/proc/self/exe").unwrap());
        taken.give_back(&Arc::new(Socket::from(file)));
        taken.peer.write_all(b"b").unwrap();
        assert_eq!(taken.read.recv(), Ok(b'b'));
    }

    #[test]
    fn nobody_waits_for_a_thread_where_the_engine_reads_no_more() {
        let taken = Taken::new();
        let reading = Arc::clone(&taken.reading);
        let (tell, recalled) = mpsc::channel();
        Engine::start().unwrap().spawn(async move {
            reading.recall().await;
            tell.send(()).unwrap();
        });
        taken.is_recalled.recv().unwrap();
        drop(EngineReads {
            reading: &taken.reading,
            socket: Arc::clone(&taken.socket),
        });
        recalled.recv().unwrap();
    }
}
