//! The client: a [`wire`](crate::wire) connection on a socket.
//!
//! ```text
//! caller --execute--> Shared::submit --bytes--> socket   (on the caller's thread)
//! socket --bytes--> reader --replies, events--> waiters  (on the engine's thread,
//!                                                 or on a waiting caller's thread)
//! ```

mod cancel_migration;
mod error;
mod event_pattern;
mod events;
mod execute;
mod fd;
mod job;
mod migration;
mod reader;
mod subscription;
mod tap;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_core::Serialize;
use serde_json::value::RawValue;

pub use cancel_migration::CancelMigration;
pub use error::{EventError, ExecuteError, ExecuteFailure};
pub use event_pattern::EventPattern;
pub use events::{Events, NextEvent, NextTyped, TypedEvent};
pub use execute::{Execute, ExecuteJson};
pub use fd::PassedFd;
pub use job::{JobError, JobFailure, JobReport, Progress, RunJob};
pub use migration::{
    IncomingMigration, Migrate, MigrateIncoming, MigrationError, MigrationReport, WaitForMigration,
};
pub use reader::on_event;
pub(crate) use reader::open;
pub use subscription::{IntoNext, NextItem, Subscription};
pub use tap::{Direction, Message, NextMessage, Tap, Transcript};

use tap::Taps;

use crate::reader::{PeerContext, PendingNotices};
use crate::wire::{Connection, ErrorReply, Greeting, Id, IdInFlight, Line};
use crate::{Command, Deadlines, Disconnected, HumanMonitorCommand};
use qemu_qmp_engine::queue::{Queue, Queued};
use qemu_qmp_engine::{Engine, NotSent, Stream, TurnLock, Watched, oneshot};

/// A handle to a connection with a QMP server.
///
/// It is cheap to clone, and works in any thread and under any runtime. The
/// connection is closed when the last handle is dropped, or by
/// [`close`](Self::close).
///
/// # Examples
/// ```no_run
/// use qemu_qmp::{Client, QueryStatus, Wait};
///
/// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
/// let mut events = qmp.events();
/// println!("{}", qmp.execute(QueryStatus).wait()?.status);
/// qmp.execute_json("system_powerdown", serde_json::json!({})).wait()?;
/// println!("{}", events.next_named("SHUTDOWN").wait()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

impl Client {
    /// Executes a typed command.
    ///
    /// Nothing is sent before the result is awaited or waited for.
    pub fn execute<C: Command>(&self, command: C) -> Execute<C> {
        Execute::new(self.clone(), command)
    }

    /// Executes a command by its name. The arguments are a JSON object, or
    /// null for none. They are sent unchanged.
    ///
    /// Nothing is sent before the result is awaited or waited for.
    pub fn execute_json(&self, command: &str, arguments: impl Serialize) -> ExecuteJson {
        ExecuteJson::new(self.clone(), command, arguments)
    }

    /// Executes a line of the human monitor (HMP), and returns its output.
    ///
    /// Use it only where QMP has no command: the text is for people, and
    /// differs between versions. A failure is text too, unless
    /// [`fail_on_error`](Execute::fail_on_error) is set.
    ///
    /// Nothing is sent before the result is awaited or waited for.
    pub fn human(&self, command_line: &str) -> Execute<HumanMonitorCommand> {
        self.execute(HumanMonitorCommand::new(command_line))
    }

    /// Starts a background job by this command, and follows it to its end. The
    /// arguments need a `job-id`.
    ///
    /// It completes the job when that is ready, finalizes it if
    /// `auto-finalize` is off, and dismisses it.
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

    /// Passes a descriptor to the server, for later commands that use this name
    /// (`getfd`). It is a file, a socket, a pipe, or a path that is opened for
    /// reading. This side's copy is closed when the command was answered.
    ///
    /// Nothing is sent or opened before the result is awaited or waited for.
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
    pub fn getfd(&self, name: &str, descriptor: impl Into<PassedFd>) -> ExecuteJson {
        let arguments = serde_json::json!({"fdname": name});
        self.execute_json("getfd", arguments).pass(descriptor)
    }

    /// Passes a descriptor into a set, which QEMU opens as `/dev/fdset/SET`
    /// (`add-fd`). Otherwise as [`getfd`](Self::getfd).
    pub fn add_fd(&self, set: u32, descriptor: impl Into<PassedFd>) -> ExecuteJson {
        let arguments = serde_json::json!({"fdset-id": set});
        self.execute_json("add-fd", arguments).pass(descriptor)
    }

    /// The server's name in errors, such as `machine 'qemu-1'`.
    pub fn server(&self) -> String {
        self.handle.shared.context.name()
    }

    /// Listens to every event from now on.
    pub fn events(&self) -> Events {
        self.handle.shared.listen(None)
    }

    /// Listens to the events with these names from now on.
    pub fn events_named<N: Into<String>>(&self, names: impl IntoIterator<Item = N>) -> Events {
        self.events_matching(names.into_iter().map(Into::into))
    }

    /// Listens to the events that match one of these patterns, from now on.
    pub fn events_matching<P: Into<EventPattern>>(
        &self,
        patterns: impl IntoIterator<Item = P>,
    ) -> Events {
        let patterns = patterns.into_iter().map(Into::into).collect();
        self.handle.shared.listen(Some(patterns))
    }

    /// Receives every message from now on, in both directions. To record all
    /// messages in a file, see
    /// [`Connect::transcript`](crate::Connect::transcript).
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_qmp::{Client, QueryStatus, Wait};
    ///
    /// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
    /// let mut tap = qmp.tap();
    /// qmp.execute(QueryStatus).wait()?;
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
        shared.subscription("message", queue)
    }

    /// The server's greeting; `None` if the connection was opened without
    /// one.
    pub fn greeting(&self) -> Option<&Greeting> {
        self.handle.shared.greeting.get()
    }

    /// Whether the greeting has come, or none is expected.
    pub(crate) fn has_greeted(&self) -> bool {
        self.handle.shared.lock().connection.has_greeted()
    }

    /// Whether commands may be executed out of band.
    pub fn oob(&self) -> bool {
        self.handle.shared.lock().connection.oob()
    }

    /// The deadlines of all operations on this connection. They can be
    /// suspended.
    pub fn deadlines(&self) -> &Deadlines {
        &self.handle.shared.deadlines
    }

    /// Why the connection has ended; `None` while it is open.
    pub fn disconnected(&self) -> Option<Disconnected> {
        self.handle.shared.lock().ended.clone()
    }

    /// Closes the connection. Every waiter on it fails with
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
        self.shared.end(&Disconnected::ByClient).notify();
        self.shared.stream.shutdown();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A forked process has a copy of this handle. It must not close the
        // parent's connection.
        if self.engine.is_of_this_process() {
            self.close();
        }
    }
}

/// The state that callers and the reader share.
struct Shared {
    stream: Stream,
    reader: Mutex<reader::ReadState>,
    state: Mutex<State>,
    greeting: std::sync::OnceLock<Greeting>,
    deadlines: Deadlines,
    context: Arc<dyn PeerContext>,
    taps: Taps,
    /// Whether every waiter has been notified of the end.
    is_notified: Arc<Watched<bool>>,
    /// Locked by a command that passes descriptors.
    passing: TurnLock<()>,
}

struct State {
    connection: Connection<Waiter>,
    listeners: Vec<Arc<events::Listener>>,
    ended: Option<Disconnected>,
}

/// How many commands may have no reply yet, including those whose caller has
/// given up.
const IN_FLIGHT_LIMIT: usize = 100_000;

type Waiter = oneshot::Sender<Result<Reply, Disconnected>>;
type Reply = Result<Box<RawValue>, ErrorReply>;

impl Shared {
    /// Enters a command into the table. Its bytes must be sent next.
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

    /// Sends a line, and shows it to the taps.
    fn send(&self, line: &[u8]) -> Result<(), NotSent> {
        self.show_and_send(line, || self.stream.send(line).map(drop))
    }

    /// Sends a line with descriptors, and shows it to the taps.
    fn send_with(&self, line: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), NotSent> {
        self.show_and_send(line, || self.stream.send_with(line, descriptors))
    }

    fn show_and_send(
        &self,
        line: &[u8],
        send: impl FnOnce() -> Result<(), NotSent>,
    ) -> Result<(), NotSent> {
        if self.taps.exist() {
            self.taps.show_sent(line, send)
        } else {
            send()
        }
    }

    fn subscription<T: Queued>(
        &self,
        what: &'static str,
        queue: Arc<Queue<T, Disconnected>>,
    ) -> Subscription<T> {
        let (deadlines, context) = (self.deadlines.clone(), Arc::clone(&self.context));
        Subscription::new(what, queue, deadlines, context)
    }

    fn listen(&self, wanted: Option<Vec<EventPattern>>) -> Events {
        let queue = Arc::new(Queue::new());
        let mut state = self.lock();
        if let Some(cause) = &state.ended {
            queue.end(cause.clone());
        } else {
            let listener = events::Listener::new(wanted, Arc::clone(&queue));
            let listeners = &mut state.listeners;
            listeners.retain(|listener| !listener.queue.is_abandoned());
            listeners.push(Arc::new(listener));
        }
        drop(state);
        self.subscription("event", queue)
    }

    /// Ends the connection. Only the first cause counts. The notices own
    /// nothing of the connection.
    fn end(&self, cause: &Disconnected) -> PendingNotices {
        let mut state = self.lock();
        if state.ended.is_some() {
            return PendingNotices::default();
        }
        state.ended = Some(cause.clone());
        let waiters: Vec<Waiter> = state.connection.take_waiters().into_iter().collect();
        let listeners = std::mem::take(&mut state.listeners);
        let taps = self.taps.end();
        let (cause, is_notified) = (cause.clone(), Arc::clone(&self.is_notified));
        drop(state);
        PendingNotices::new(move || {
            for waiter in waiters {
                // A caller that has given up needs no notice.
                let _ = waiter.send(Err(cause.clone()));
            }
            for listener in listeners {
                listener.queue.end(cause.clone());
            }
            for tap in taps {
                tap.end(cause.clone());
            }
            is_notified.set(true);
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
