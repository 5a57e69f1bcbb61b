//! The handle to a connection.

use std::fmt;
use std::sync::Arc;

use qemu_qmp_engine::Engine;
use qemu_qmp_engine::queue::Queue;
use serde_core::Serialize;

use super::shared::Shared;
use super::{EventPattern, Events, Execute, ExecuteJson, PassedFd, RunJob, Tap};
use crate::command::{Command, HumanMonitorCommand};
use crate::reader::PeerContext;
use crate::wire::Greeting;
use crate::{Deadlines, Disconnected};

/// A handle to a connection with a QMP server.
///
/// It is cheap to clone, and works in any thread and under any runtime. The
/// connection is closed when the last handle is dropped, or by
/// [`close`](Self::close).
///
/// # Examples
/// ```no_run
/// use qemu_qmp::{Client, Wait};
/// use qemu_qmp::command::QueryStatus;
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
    pub(super) handle: Arc<Handle>,
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

    pub(crate) fn context(&self) -> Arc<dyn PeerContext> {
        Arc::clone(&self.handle.shared.context)
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
    /// messages in a file, see [`Connect::transcript`](crate::connect::Connect::transcript).
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_qmp::{Client, Wait};
    /// use qemu_qmp::command::QueryStatus;
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
pub(super) struct Handle {
    pub(super) shared: Arc<Shared>,
    pub(super) engine: &'static Engine,
}

impl Handle {
    pub(super) fn close(&self) {
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
