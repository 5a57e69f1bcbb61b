//! The guest agent (`qemu-ga`): a service in the guest that runs programs,
//! reads and writes files, and more (`docs/interop/qemu-ga-ref`).
//!
//! ```text
//! caller --GuestAgent--> Shared::change --bytes--> socket     (on the caller's thread)
//! socket --bytes--> reader --answers--> their waiters         (on the engine's thread)
//! ```
//!
//! Its commands have the form of QMP's, but the protocol differs: see
//! [`wire::AgentConnection`](crate::wire::AgentConnection). The agent executes
//! one command at a time, in the order of the calls here.
//!
//! The agent is part of the guest: it may send anything, or nothing. Data that is
//! not an answer is skipped, and can at worst fail the command that waits.

mod base64;
mod call;
mod command;
mod error;
mod exec;
mod execute;
mod file;
mod guest_file;
mod link;
mod open_file;
mod process;
mod stream;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_core::Serialize;
use serde_json::json;

pub use command::{
    AgentCommand, AgentInfo, GuestFsfreezeFreeze, GuestFsfreezeStatus, GuestFsfreezeThaw,
    GuestFstrim, GuestInfo, GuestPing, ShutdownMode, TrimmedFileSystem, TrimmedFileSystems,
};
pub use error::{AgentError, AgentFailure};
pub use exec::{Exec, ExecOutput, Spawn};
pub use execute::{Execute, ExecuteJson, ExecuteWithoutReply, WaitUntilReady};
pub use file::{ReadFile, WriteFile};
pub use guest_file::{CloseGuestFile, GuestFile, OpenGuestFile, ReadPiece, WritePiece};
#[doc(hidden)]
pub use link::AgentLink;
pub(crate) use link::{absent, open};
pub use process::{GuestProcess, ProcessStatus, WaitForProcessExit};
pub use stream::{
    CancelStream, NextPiece, OutputPiece, StartStream, StreamedProgram, WaitForStreamEnd,
};

use crate::command::Command;
use crate::reader::{PeerContext, PendingNotices};
use crate::wire::{AgentAnswer, AgentConnection, AgentOutput, AgentSettings, Line};
use crate::{Deadlines, Disconnected};
use qemu_qmp_engine::{Engine, Stream, Watched, oneshot};

/// A handle to the agent in a guest.
///
/// It is cheap to clone, and works in any thread and under any runtime. The
/// channel is closed when the last handle is dropped, or by
/// [`close`](Self::close).
///
/// The agent may not run yet. A command first waits for the agent, within the
/// command's deadline, and is sent when the agent has answered a sync. A command
/// that fails before that was never sent.
///
/// In a machine, the monitor reports when the agent ends or restarts. That ends
/// the running command at once.
///
/// # Examples
/// ```no_run
/// use qemu_qmp::Wait;
/// use qemu_qmp::agent::GuestAgent;
///
/// let agent = GuestAgent::connect_unix("/run/vm/agent.sock").wait()?;
/// agent.wait_until_ready().wait()?;
/// let output = agent.exec("uname").arg("-r").wait()?;
/// println!("{}", String::from_utf8_lossy(&output.stdout));
/// agent.write_file("/etc/motd", "Hello\n").wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct GuestAgent {
    handle: Arc<Handle>,
}

impl GuestAgent {
    /// Waits until the agent runs and answers, and data for earlier clients has
    /// been skipped (`guest-sync-delimited`).
    pub fn wait_until_ready(&self) -> WaitUntilReady {
        WaitUntilReady::new(self.clone())
    }

    /// Asks whether the agent answers (`guest-ping`).
    pub fn ping(&self) -> Execute<GuestPing> {
        self.execute(GuestPing)
    }

    /// Asks the agent for its version and its commands (`guest-info`).
    pub fn info(&self) -> Execute<GuestInfo> {
        self.execute(GuestInfo)
    }

    /// Executes a typed command. The agent has no out-of-band execution, so
    /// [`Command::OOB`] has no effect.
    pub fn execute<C: Command>(&self, command: C) -> Execute<C> {
        Execute::new(self.clone(), command)
    }

    /// Executes a command by its name, such as `guest-fsfreeze-freeze`. The
    /// arguments are a JSON object, or null for none. They are sent unchanged.
    pub fn execute_json(&self, command: &str, arguments: impl Serialize) -> ExecuteJson {
        ExecuteJson::new(self.clone(), command, arguments)
    }

    /// Executes a command that sends no reply when it succeeds, such as
    /// `guest-suspend-ram`. For these, [`AgentCommand::replies`] is `false`.
    pub fn execute_without_reply(
        &self,
        command: &str,
        arguments: impl Serialize,
    ) -> ExecuteWithoutReply {
        ExecuteWithoutReply::new(self.clone(), command, arguments)
    }

    /// Makes the agent shut the guest down (`guest-shutdown`). It succeeds when
    /// the shutdown has started; to wait for its end, wait for the machine.
    pub fn shutdown(&self, mode: ShutdownMode) -> ExecuteWithoutReply {
        self.execute_without_reply("guest-shutdown", json!({"mode": mode.as_str()}))
    }

    /// Runs a program in the guest to its end. With [`spawn`](Exec::spawn) it
    /// only starts the program. The agent searches its `PATH`, unless the name
    /// contains a slash. No shell is involved.
    pub fn exec(&self, program: impl Into<String>) -> Exec {
        Exec::new(self.clone(), program.into())
    }

    /// Reads a whole file of the guest.
    pub fn read_file(&self, path: impl Into<String>) -> ReadFile {
        ReadFile::new(self.clone(), path.into())
    }

    /// Writes a whole file in the guest. It replaces an existing file.
    pub fn write_file(&self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> WriteFile {
        WriteFile::new(self.clone(), path.into(), bytes.into())
    }

    /// The machine's name in errors, such as `machine 'qemu-1'`.
    pub fn server(&self) -> String {
        self.shared().context.name()
    }

    /// The deadlines of all operations on this agent. They can be suspended.
    pub fn deadlines(&self) -> &Deadlines {
        &self.shared().deadlines
    }

    /// Why the channel has ended; `None` while it is open.
    pub fn disconnected(&self) -> Option<Disconnected> {
        self.shared().lock().ended.clone()
    }

    /// Closes the channel. Every waiter on it fails with
    /// [`Disconnected::ByClient`].
    pub fn close(&self) {
        self.handle.close();
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

impl fmt::Debug for GuestAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestAgent")
            .field("disconnected", &self.disconnected())
            .finish_non_exhaustive()
    }
}

/// Closes the channel when the last handle drops it.
struct Handle {
    shared: Arc<Shared>,
    /// `None` if there never was a channel.
    engine: Option<&'static Engine>,
}

impl Handle {
    fn close(&self) {
        self.shared.end(&Disconnected::ByClient).notify();
        self.shared.shutdown();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // A forked process has a copy of this handle. It must not close the
        // parent's channel.
        if self.engine.is_some_and(Engine::is_of_this_process) {
            self.close();
        }
    }
}

/// The state that callers and the reader share.
struct Shared {
    stream: Option<Stream>,
    state: Mutex<State>,
    /// Whether every waiter has been notified of the end.
    is_notified: Arc<Watched<bool>>,
    deadlines: Deadlines,
    context: Arc<dyn PeerContext>,
}

struct State {
    connection: AgentConnection<Waiter>,
    ended: Option<Disconnected>,
}

/// A call that waits for an answer.
struct Waiter {
    outcome: oneshot::Sender<Outcome>,
    keep: Keep,
}

/// What must be kept of an answer, even if its caller has given up.
enum Keep {
    Nothing,
    /// A file's handle, which must be closed.
    File,
    /// A program's state. The agent reports its exit only once.
    Status(process::LastStatus),
}

type Outcome = Result<AgentAnswer, ChannelEnd>;

/// The channel ended before the answer.
#[derive(Debug)]
struct ChannelEnd {
    cause: Disconnected,
    was_sent: bool,
}

impl Shared {
    fn new(
        stream: Option<Stream>,
        settings: &AgentSettings,
        deadlines: Deadlines,
        context: Arc<dyn PeerContext>,
    ) -> Arc<Self> {
        Arc::new(Self {
            stream,
            state: Mutex::new(State {
                connection: AgentConnection::new(settings),
                ended: None,
            }),
            is_notified: Arc::default(),
            deadlines,
            context,
        })
    }

    /// Changes the state, and performs the outputs.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let changed = change(&mut state);
        let mut answers = Vec::new();
        while let Some(output) = state.connection.poll_output() {
            match output {
                // Locked, so that the bytes stay in order. If the agent does not
                // read, they are dropped, and the command fails at its
                // deadline.
                AgentOutput::Transmit(bytes) => {
                    let _ = self.stream.as_ref().map(|stream| stream.send(&bytes));
                }
                AgentOutput::Answer { waiter, answer } => answers.push((waiter, answer)),
            }
        }
        drop(state);
        // Not locked: waking a waiter may run its executor's code.
        for (waiter, answer) in answers {
            let Waiter { outcome, keep } = waiter;
            let answer = match &keep {
                Keep::Status(last) => last.keep(answer),
                Keep::File | Keep::Nothing => answer,
            };
            if let Err(Ok(answer)) = outcome.send(Ok(answer))
                && let Keep::File = keep
            {
                self.close_unclaimed(answer);
            }
        }
        changed
    }

    /// Makes the agent close a file that it opened for a caller that has given
    /// up.
    fn close_unclaimed(&self, answer: AgentAnswer) {
        if let Ok(handle) = call::typed(answer) {
            self.close_file(handle);
        }
    }

    /// Makes the agent close a file, without waiting for it.
    fn close_file(&self, handle: i64) {
        self.execute_unattended("guest-file-close", &json!({"handle": handle}));
    }

    /// Executes a command without waiting for it.
    fn execute_unattended(&self, command: &str, arguments: &serde_json::Value) {
        let arguments = arguments.to_string();
        let line = Line::new(command, Some(arguments.as_bytes()), false);
        let waiter = Waiter {
            outcome: oneshot::channel().0,
            keep: Keep::Nothing,
        };
        self.change(|state| state.connection.submit_unattended(line, waiter));
    }

    /// Ends the channel. Only the first cause counts.
    fn end(&self, cause: &Disconnected) -> PendingNotices {
        let mut state = self.lock();
        if state.ended.is_some() {
            return PendingNotices::default();
        }
        state.ended = Some(cause.clone());
        let waiters = state.connection.take_waiters();
        drop(state);
        let (cause, is_notified) = (cause.clone(), Arc::clone(&self.is_notified));
        PendingNotices::new(move || {
            for (waiter, was_sent) in waiters {
                let cause = cause.clone();
                // A caller that has given up needs no notice.
                let _ = waiter.outcome.send(Err(ChannelEnd { cause, was_sent }));
            }
            is_notified.set(true);
        })
    }

    /// Waits until every waiter has been notified of the end.
    async fn notified(&self) {
        self.is_notified.until(|it| it.then_some(())).await;
    }

    fn shutdown(&self) {
        if let Some(stream) = &self.stream {
            stream.shutdown();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
