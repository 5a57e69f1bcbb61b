//! The reader of a connection, of either dialect.
//!
//! ```text
//!        run            the connection ends         finish, end
//! Idle -----> Running ------------------> Ended(cause) -----> Finished
//! ```
//!
//! Never notifies a waiter of the end before the supervisor does.

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qemu_qmp_engine::{Stream, oneshot};

use crate::Disconnected;

/// Describes a server beyond its connection: its name, and what was seen of it.
/// Errors contain both.
pub trait PeerContext: Send + Sync {
    /// The server's name in errors, such as `machine 'qemu-1'`.
    fn name(&self) -> String;

    /// What was seen of the server, to append to an error's message. Each line
    /// follows a line end. Empty for nothing.
    fn seen(&self) -> String {
        String::new()
    }
}

/// The waiters on a connection that has ended, which are not notified yet.
#[derive(Default)]
#[must_use = "the waiters must be notified"]
pub struct PendingNotices(Option<Box<dyn FnOnce() + Send>>);

impl PendingNotices {
    /// Creates notices that `notify` sends. It may run the waiters' code.
    pub fn new(notify: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(notify)))
    }

    /// Notifies the waiters.
    pub fn notify(self) {
        if let Some(notify) = self.0 {
            notify();
        }
    }
}

/// A connection that a [`Reader`] can read, of either dialect.
pub(crate) trait Connected: Send + Sync {
    /// The socket; `None` if there never was one.
    fn stream(&self) -> Option<&Stream>;

    /// Reads on the engine until the connection ends, and returns why.
    fn read_to_end(&self) -> Reading<'_>;

    /// Ends the connection. Only the first cause counts.
    fn end(&self, cause: &Disconnected) -> PendingNotices;

    /// Called when nothing will be read any more: drops the reader's state.
    fn reader_is_gone(&self) {}
}

type Reading<'a> = Pin<Box<dyn Future<Output = Disconnected> + Send + 'a>>;

/// Reads one connection, once. When it is dropped, the connection ends.
pub struct Reader {
    connection: Arc<dyn Connected>,
    state: Mutex<State>,
}

enum State {
    Idle,
    Running,
    /// The connection has ended, and the waiters are not notified yet.
    Ended(Disconnected),
    Finished,
}

impl Reader {
    pub(crate) fn new(connection: Arc<dyn Connected>) -> Self {
        Self {
            connection,
            state: Mutex::new(State::Idle),
        }
    }

    /// Reads on the engine until the connection ends, and returns why. Waiters
    /// on the connection are not notified before [`finish`](Self::finish) or
    /// [`end`](Self::end). `None` if it was run before.
    pub async fn run(&self) -> Option<Disconnected> {
        {
            let mut state = self.lock();
            let State::Idle = &*state else { return None };
            *state = State::Running;
        }
        let cause = self.connection.read_to_end().await;
        let mut state = self.lock();
        if let State::Running = &*state {
            *state = State::Ended(cause.clone());
        }
        Some(cause)
    }

    /// Whether the waiters are not notified yet.
    pub fn is_unfinished(&self) -> bool {
        !matches!(&*self.lock(), State::Finished)
    }

    /// Notifies the waiters why the connection ended. Does nothing while it is
    /// reading.
    pub fn finish(&self) {
        let cause = {
            let mut state = self.lock();
            match mem::replace(&mut *state, State::Finished) {
                State::Ended(cause) => cause,
                State::Idle => Disconnected::ByServer,
                before @ (State::Running | State::Finished) => {
                    *state = before;
                    return;
                }
            }
        };
        self.release(&cause).notify();
    }

    /// Ends the connection. The waiters must still be notified.
    pub fn end(&self, cause: &Disconnected) -> PendingNotices {
        *self.lock() = State::Finished;
        self.release(cause)
    }

    /// Ends the connection after all data of the server is read. Over TCP, some data
    /// may still be on its way. Another process that has the server's socket may
    /// delay the end.
    pub fn end_after_rest(&self) {
        if let Some(stream) = self.connection.stream() {
            stream.end();
        }
    }

    /// Ends the connection after the data that was received by now is read.
    pub fn cut(&self) {
        if let Some(stream) = self.connection.stream() {
            stream.shutdown();
        }
    }

    /// Waits, on the engine, until the data that was received by now is read and
    /// passed to every listener.
    pub async fn drained(&self) {
        if let Some(stream) = self.connection.stream() {
            stream.drained().await;
        }
    }

    fn release(&self, cause: &Disconnected) -> PendingNotices {
        let notices = self.connection.end(cause);
        self.cut();
        self.connection.reader_is_gone();
        notices
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.release(&Disconnected::ByClient).notify();
    }
}

/// Notified while a connection is made.
pub struct ReadySignal {
    pub(crate) greeted: oneshot::Receiver<()>,
    pub(crate) ready: oneshot::Receiver<()>,
}

impl ReadySignal {
    /// Waits until the server has said who it is, and the negotiation was sent.
    /// Commands may follow it: the server executes them in order. `false` if the
    /// connection ended first.
    pub async fn greeted(&mut self) -> bool {
        (&mut self.greeted).await.is_ok()
    }

    /// Waits until the server accepts commands. `false` if the connection ended
    /// first.
    pub async fn wait(&mut self) -> bool {
        (&mut self.ready).await.is_ok()
    }
}
