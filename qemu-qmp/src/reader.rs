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

/// Knows more of a server than its connection shows: its name, and what was
/// seen of it. Errors contain both.
pub trait PeerContext: Send + Sync {
    /// The server's name in errors, such as `machine 'qemu-1'`.
    fn name(&self) -> String;

    /// What was seen of the server, to follow an error's message. Lines of
    /// their own, each after a line end; empty for nothing.
    fn seen(&self) -> String {
        String::new()
    }
}

/// The waiters on something that has ended, who are not notified yet.
#[derive(Default)]
#[must_use = "the waiters must be notified"]
pub struct PendingNotices(Option<Box<dyn FnOnce() + Send>>);

impl PendingNotices {
    /// Notices that `notify` gives. It may run the waiters' own code.
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
    /// The socket; `None` where there never was one.
    fn stream(&self) -> Option<&Stream>;

    /// Reads on the engine until the connection ends, and returns why.
    fn read_to_end(&self) -> Reading<'_>;

    /// Lets go of the connection. Only the first cause counts.
    fn end(&self, cause: &Disconnected) -> PendingNotices;

    /// Nothing will be read any more: drops what only the reader needed.
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

    /// Whether it reads just now.
    pub fn is_running(&self) -> bool {
        matches!(&*self.lock(), State::Running)
    }

    /// Whether the waiters are still to be notified.
    pub fn is_unfinished(&self) -> bool {
        !matches!(&*self.lock(), State::Finished)
    }

    /// Notifies the waiters why the connection ended. Does nothing while it
    /// reads.
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
        self.let_go(&cause).notify();
    }

    /// Lets go of the connection. The waiters must still be notified.
    pub fn end(&self, cause: &Disconnected) -> PendingNotices {
        *self.lock() = State::Finished;
        self.let_go(cause)
    }

    /// Ends the connection after all that the server has sent is read. Over
    /// TCP some of it may still be on its way; and a process that shares the
    /// server's socket may keep the end from coming.
    pub fn end_after_rest(&self) {
        if let Some(stream) = self.connection.stream() {
            stream.end();
        }
    }

    /// Ends the connection after what has been received by now is read.
    pub fn cut(&self) {
        if let Some(stream) = self.connection.stream() {
            stream.shutdown();
        }
    }

    /// Waits, on the engine, until what has been received by now is read and
    /// handed to every listener.
    pub async fn drained(&self) {
        if let Some(stream) = self.connection.stream() {
            stream.drained().await;
        }
    }

    fn let_go(&self, cause: &Disconnected) -> PendingNotices {
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
        self.let_go(&Disconnected::ByClient).notify();
    }
}

/// Notified when commands may be sent.
pub struct ReadySignal(pub(crate) oneshot::Receiver<()>);

impl ReadySignal {
    /// Waits until commands may be sent; `false` if the connection ended
    /// first.
    pub async fn wait(&mut self) -> bool {
        (&mut self.0).await.is_ok()
    }
}
