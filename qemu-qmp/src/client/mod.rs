//! The client: a [`wire`](crate::wire) connection on a socket.
//!
//! ```text
//! caller --execute--> Shared::submit --bytes--> socket        (on the caller's thread)
//! socket --bytes--> Driver --replies, events--> their waiters (on the engine's thread,
//!                                               or that of a caller that waits)
//! ```

mod cancel_migration;
mod connect;
mod driver;
mod error;
mod event_pattern;
mod events;
mod execute;
mod job;
mod listen;
mod migration;
mod passed;
mod queue;
mod tap;
mod witness;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_core::Serialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

pub use cancel_migration::CancelMigration;
pub(crate) use connect::Peer;
pub use connect::{Connect, ConnectedSocket, ServerAddress};
pub use driver::{Driver, Ender, Ready};
pub use error::{ConnectError, Disconnected, EventError, ExecuteError, ExecuteFailure};
pub use event_pattern::EventPattern;
pub use events::{Events, NextEvent};
pub use execute::{Execute, ExecuteJson};
pub use job::{JobError, JobFailure, JobReport, Progress, RunJob};
pub use listen::Listener;
pub use migration::{
    Completed, Incoming, Migrate, MigrateIncoming, MigrationError, MigrationReport,
};
pub use passed::Passed;
pub use tap::{Direction, Message, NextMessage, Tap, Transcript};
pub(crate) use witness::Stranger;
pub use witness::Witness;

use queue::{Queue, Queued, Receiver};
use tap::Taps;

use crate::engine::{self, Engine, NotSent, Stream, Watched};
use crate::wire::{Connection, ErrorReply, Greeting, Id, IdInFlight, Line};
use crate::{Command, Deadlines, HumanMonitorCommand};

/// A handle on a connection with a QMP server.
///
/// Cheap to clone, and of use from any thread and under any runtime. The
/// connection is closed when the last handle is dropped, or by
/// [`close`](Self::close).
///
/// # Examples
/// ```no_run
/// use qemu_qmp::{Client, QueryStatus, Wait};
///
/// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
/// let mut events = qmp.events();
/// println!("{}", qmp.execute(QueryStatus {}).wait()?.status);
/// qmp.execute_json("system_powerdown", serde_json::json!({})).wait()?;
/// println!("{}", events.next_named("SHUTDOWN").wait()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

impl Client {
    /// Executes a command that is a type.
    ///
    /// Nothing is sent before the result is awaited or waited for.
    pub fn execute<C: Command>(&self, command: C) -> Execute<C> {
        Execute::new(self.clone(), command)
    }

    /// Executes a command by its name. The arguments are a JSON object, or
    /// null for none; they are sent as they are.
    ///
    /// Nothing is sent before the result is awaited or waited for.
    pub fn execute_json(&self, command: &str, arguments: impl Serialize) -> ExecuteJson {
        ExecuteJson::new(self.clone(), command, arguments)
    }

    /// Executes a line of the monitor for people; the answer is what it prints.
    /// For what QMP has no command for: the text is not made to be read by
    /// programs, and differs between versions. Errors are text too, unless
    /// [`fail_on_error`](Execute::fail_on_error) is set.
    ///
    /// Nothing is sent before the result is awaited or waited for.
    pub fn human(&self, command_line: &str) -> Execute<HumanMonitorCommand> {
        self.execute(HumanMonitorCommand::new(command_line))
    }

    /// Starts a background job by this command, and follows it to its end:
    /// completes it when it is ready, finalizes it where it does not do so
    /// itself, and dismisses it. The arguments need a `job-id`.
    ///
    /// Nothing is started before the result is awaited or waited for.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_qmp::{Client, Wait};
    /// use serde_json::json;
    ///
    /// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
    /// let backup = json!({"job-id": "b", "device": "disk", "target": "copy", "sync": "full"});
    /// println!("{:?}", qmp.run_job("blockdev-backup", backup).wait()?.states);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run_job(&self, command: &str, arguments: impl Serialize) -> RunJob {
        RunJob::new(self.clone(), command, arguments)
    }

    /// Passes a descriptor, which other commands then call by this name
    /// (`getfd`): a file, a socket, a pipe, or a path that is opened for
    /// reading. Our copy is closed when the command has been answered.
    ///
    /// Nothing is sent, or opened, before the result is awaited or waited for.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_qmp::{Client, Wait};
    /// use serde_json::json;
    ///
    /// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
    /// let (reader, writer) = std::io::pipe()?;
    /// qmp.getfd("out", writer).wait()?;
    /// qmp.execute_json("migrate", json!({"uri": "fd:out"})).wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn getfd(&self, name: &str, passed: impl Into<Passed>) -> ExecuteJson {
        let arguments = serde_json::json!({"fdname": name});
        self.execute_json("getfd", arguments).pass(passed)
    }

    /// Passes a descriptor into a set, which QEMU opens as `/dev/fdset/SET`
    /// (`add-fd`); as [`getfd`](Self::getfd) otherwise.
    pub fn add_fd(&self, set: u32, passed: impl Into<Passed>) -> ExecuteJson {
        let arguments = serde_json::json!({"fdset-id": set});
        self.execute_json("add-fd", arguments).pass(passed)
    }

    /// What errors call the server, such as `machine 'qemu-1'`.
    pub fn server(&self) -> String {
        self.handle.shared.witness.name()
    }

    /// A listener that hears every event from now on.
    pub fn events(&self) -> Events {
        self.handle.shared.listen(None)
    }

    /// A listener that hears the events of these names from now on.
    pub fn events_named<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> Events {
        self.events_matching(names.into_iter().map(Into::into))
    }

    /// A listener that hears the events from now on that one of these patterns
    /// means.
    pub fn events_matching<P: Into<EventPattern>>(
        &self,
        patterns: impl IntoIterator<Item = P>,
    ) -> Events {
        let patterns = patterns.into_iter().map(Into::into).collect();
        self.handle.shared.listen(Some(patterns))
    }

    /// Sees every message from now on, both ways. To have all from the first on
    /// in a file, see [`Connect::transcript`].
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_qmp::{Client, QueryStatus, Wait};
    ///
    /// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
    /// let mut tap = qmp.tap();
    /// qmp.execute(QueryStatus {}).wait()?;
    /// for message in tap.take_all() {
    ///     println!("{message}"); // > {"execute":"query-status","id":2}
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn tap(&self) -> Tap {
        let shared = &self.handle.shared;
        let queue = Arc::new(Queue::new());
        if !shared.taps.add(&queue)
            && let Some(cause) = self.disconnected()
        {
            queue.end(cause);
        }
        Tap::new(shared.receiver(queue))
    }

    /// What the server said of itself; `None` where the greeting was turned
    /// off.
    pub fn greeting(&self) -> Option<&Greeting> {
        self.handle.shared.greeting.get()
    }

    /// Whether commands may be executed out of band.
    pub fn oob(&self) -> bool {
        self.handle.shared.lock().connection.oob()
    }

    /// The deadlines of all that is waited for on this connection, by which
    /// they can be suspended.
    pub fn deadlines(&self) -> &Deadlines {
        &self.handle.shared.deadlines
    }

    /// Why there is no connection any more; `None` while there is one.
    pub fn disconnected(&self) -> Option<Disconnected> {
        self.handle.shared.lock().ended.clone()
    }

    /// Closes the connection. Everyone who waits on it is told
    /// [`Disconnected::ByClient`].
    pub fn close(&self) {
        self.handle.close();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("greeting", &self.greeting())
            .field("disconnected", &self.disconnected())
            .finish_non_exhaustive()
    }
}

/// Closes the connection when the last client drops it.
struct Handle {
    shared: Arc<Shared>,
    engine: &'static Engine,
}

impl Handle {
    fn close(&self) {
        self.shared.end(&Disconnected::ByClient).tell();
        self.shared.stream.shutdown();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The copy that a fork made must leave the parent's connection be.
        if self.engine.is_of_this_process() {
            self.close();
        }
    }
}

/// Who waits on a connection that has ended, and is not told yet. It holds
/// nothing of the connection.
#[derive(Default)]
#[must_use = "who waits is to be told"]
pub struct Untold {
    waiters: Vec<Waiter>,
    listeners: Vec<Arc<events::Listener>>,
    taps: Vec<Arc<Queue<Message>>>,
    /// Why it ended, and for who comes now.
    cause: Option<(Disconnected, Arc<Watched<bool>>)>,
}

impl Untold {
    /// Tells them.
    pub fn tell(self) {
        let Some((cause, is_told)) = self.cause else {
            return;
        };
        for waiter in self.waiters {
            // Whoever has given up waiting needs no word.
            engine::wake(|| waiter.send(Err(cause.clone())));
        }
        for listener in self.listeners {
            engine::wake(|| listener.queue.end(cause.clone()));
        }
        for tap in self.taps {
            engine::wake(|| tap.end(cause.clone()));
        }
        is_told.set(true);
    }
}

/// What callers and the reader have in common.
struct Shared {
    stream: Stream,
    reader: Mutex<driver::Reader>,
    state: Mutex<State>,
    greeting: std::sync::OnceLock<Greeting>,
    deadlines: Deadlines,
    witness: Arc<dyn Witness>,
    taps: Taps,
    /// Whether everyone has been told of the end.
    is_told: Arc<Watched<bool>>,
    /// Held by whoever passes descriptors.
    passing: tokio::sync::Mutex<()>,
}

struct State {
    connection: Connection<Waiter>,
    listeners: Vec<Arc<events::Listener>>,
    ended: Option<Disconnected>,
}

/// How many commands may wait for their reply, or for that of one that was
/// given up.
const IN_FLIGHT_LIMIT: usize = 100_000;

type Waiter = oneshot::Sender<Result<Reply, Disconnected>>;
type Reply = Result<Box<RawValue>, ErrorReply>;

impl Shared {
    /// Enters a command into the books; its bytes are to be sent next.
    fn submit(
        &self,
        id: Option<String>,
        line: Line,
        waiter: Waiter,
    ) -> Result<(Id, Vec<u8>), ExecuteFailure> {
        let mut state = self.lock();
        if let Some(cause) = &state.ended {
            return Err(ExecuteFailure::Interrupted {
                cause: cause.clone(),
            });
        }
        if state.connection.in_flight() >= IN_FLIGHT_LIMIT {
            return Err(ExecuteFailure::Congested);
        }
        let Some(id) = id else {
            return Ok(state.connection.submit(line, waiter));
        };
        match state.connection.submit_as(&id, line, waiter) {
            Ok(bytes) => Ok((Id::Chosen(id), bytes)),
            Err(IdInFlight) => Err(ExecuteFailure::IdInFlight { id }),
        }
    }

    /// Sends a line, and shows it to whom it is to be shown.
    fn send(&self, line: &[u8]) -> Result<(), NotSent> {
        self.seen(line, || self.stream.send(line).map(drop))
    }

    /// Sends a line with descriptors, and shows it likewise.
    fn send_with(&self, line: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), NotSent> {
        self.seen(line, || self.stream.send_with(line, descriptors))
    }

    fn seen(&self, line: &[u8], send: impl FnOnce() -> Result<(), NotSent>) -> Result<(), NotSent> {
        if self.taps.are_there() {
            self.taps.show_sent(line, send)
        } else {
            send()
        }
    }

    fn receiver<T: Queued>(&self, queue: Arc<Queue<T>>) -> Receiver<T> {
        Receiver::new(queue, self.deadlines.clone(), Arc::clone(&self.witness))
    }

    fn listen(&self, wanted: Option<Vec<EventPattern>>) -> Events {
        let wanted: events::Wanted = wanted.map(Arc::from);
        let queue = Arc::new(Queue::new());
        let mut state = self.lock();
        if let Some(cause) = &state.ended {
            queue.end(cause.clone());
        } else {
            let listener = events::Listener::new(wanted.clone(), Arc::clone(&queue));
            let listeners = &mut state.listeners;
            listeners.retain(|listener| !listener.queue.is_abandoned());
            listeners.push(Arc::new(listener));
        }
        drop(state);
        Events::new(wanted, self.receiver(queue))
    }

    /// The connection is of no more use. Gives who is to be told. Only the
    /// first cause counts.
    fn end(&self, cause: &Disconnected) -> Untold {
        let mut state = self.lock();
        if state.ended.is_some() {
            return Untold::default();
        }
        state.ended = Some(cause.clone());
        Untold {
            waiters: state.connection.take_waiters().into_iter().collect(),
            listeners: std::mem::take(&mut state.listeners),
            taps: self.taps.end(),
            cause: Some((cause.clone(), Arc::clone(&self.is_told))),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
