//! The guest agent (`qemu-ga`): a service in the guest that runs programs,
//! reads and writes files, and more (`docs/interop/qemu-ga-ref`).
//!
//! ```text
//! caller --GuestAgent--> Shared::submit --bytes--> socket     (on the caller's thread)
//! socket --bytes--> Driver --answers--> their waiters         (on the engine's thread)
//! ```
//!
//! Its commands are QMP's in form, but nothing else is: see
//! [`wire::AgentConnection`](crate::wire::AgentConnection). The agent does one
//! after the other, in the order in which they were sent here.
//!
//! The agent is the guest: it may send anything, or nothing. What it sends that
//! is no answer is passed over, and costs the command that waited, at the most.

mod base64;
mod call;
mod command;
mod error;
mod exec;
mod execute;
mod file;
mod link;
mod process;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_core::Serialize;
use serde_json::json;

pub use command::{AgentCommand, AgentInfo, GuestInfo, GuestPing, ShutdownMode};
pub use error::{AgentError, AgentFailure};
pub use exec::{Exec, ExecOutput, Spawn};
pub use execute::{Execute, ExecuteJson, Ready, Tell};
pub use file::{ReadFile, WriteFile};
#[doc(hidden)]
pub use link::AgentLink;
pub(crate) use link::{absent, open};
pub use process::{GuestProcess, ProcessStatus, WaitForProcessExit};

use crate::reader::{PeerContext, PendingNotices};
use crate::wire::{AgentAnswer, AgentConnection, AgentOutput, AgentSettings, Line};
use crate::{Command, Deadlines, Disconnected};
use qemu_qmp_engine::{Engine, Stream, Watched, oneshot};

/// A handle on the agent in a guest.
///
/// Cheap to clone, and of use from any thread and under any runtime. The
/// channel is closed when the last handle is dropped, or by
/// [`close`](Self::close).
///
/// The agent need not run yet. A command waits for it first, within its own
/// deadline, and is sent when the agent has answered a sync; what was given up
/// before that was never sent. An agent that goes, or is started anew, ends the
/// command under way at once where somebody can tell of it, as a machine's
/// monitor can.
///
/// # Examples
/// ```no_run
/// use qemu_qmp::Wait;
/// use qemu_qmp::agent::GuestAgent;
///
/// let agent = GuestAgent::connect_unix("/run/vm/agent.sock").wait()?;
/// agent.ready().wait()?;
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
    /// Waits until the agent answers: it runs, and what was said before has
    /// been sorted out (`guest-sync-delimited`).
    pub fn ready(&self) -> Ready {
        Ready::new(self.clone())
    }

    /// Asks the agent whether it is there (`guest-ping`).
    pub fn ping(&self) -> Execute<GuestPing> {
        self.execute(GuestPing)
    }

    /// Asks the agent for its version, and for the commands it has
    /// (`guest-info`).
    pub fn info(&self) -> Execute<GuestInfo> {
        self.execute(GuestInfo)
    }

    /// Executes a command that is a type. Whether it could be executed out of
    /// band makes no difference here.
    pub fn execute<C: Command>(&self, command: C) -> Execute<C> {
        Execute::new(self.clone(), command)
    }

    /// Executes a command by its name, such as `guest-fsfreeze-freeze`. The
    /// arguments are a JSON object, or null for none; they are sent as they
    /// are.
    pub fn execute_json(&self, command: &str, arguments: impl Serialize) -> ExecuteJson {
        ExecuteJson::new(self.clone(), command, arguments)
    }

    /// Executes a command that has no reply where it succeeds, such as
    /// `guest-suspend-ram`; [`AgentCommand::replies`] tells which those are.
    pub fn tell(&self, command: &str, arguments: impl Serialize) -> Tell {
        Tell::new(self.clone(), command, arguments)
    }

    /// Has the agent shut the guest down (`guest-shutdown`). The result tells
    /// that the agent has begun to; wait for the machine to hear of the end.
    pub fn shutdown(&self, mode: ShutdownMode) -> Tell {
        self.tell("guest-shutdown", json!({"mode": mode.as_str()}))
    }

    /// Runs a program in the guest to its end, or, with
    /// [`spawn`](Exec::spawn), starts it only. It is looked for in the agent's
    /// `PATH`, unless it has a slash; there is no shell between.
    pub fn exec(&self, program: impl Into<String>) -> Exec {
        Exec::new(self.clone(), program.into())
    }

    /// Reads a file of the guest, whole.
    pub fn read_file(&self, path: impl Into<String>) -> ReadFile {
        ReadFile::new(self.clone(), path.into())
    }

    /// Writes a file in the guest, whole. One that is there is replaced.
    pub fn write_file(&self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) -> WriteFile {
        WriteFile::new(self.clone(), path.into(), bytes.into())
    }

    /// What errors call the machine, such as `machine 'qemu-1'`.
    pub fn server(&self) -> String {
        self.shared().context.name()
    }

    /// The deadlines of all that is waited for on this agent, by which they can
    /// be suspended.
    pub fn deadlines(&self) -> &Deadlines {
        &self.shared().deadlines
    }

    /// Why there is no channel any more; `None` while there is one.
    pub fn disconnected(&self) -> Option<Disconnected> {
        self.shared().lock().ended.clone()
    }

    /// Closes the channel. Everyone who waits on it is told
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
    /// `None` where there never was a channel.
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
        // The copy that a fork made must leave the parent's channel be.
        if self.engine.is_some_and(Engine::is_of_this_process) {
            self.close();
        }
    }
}

/// What callers and the reader have in common.
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

/// Who waits for an answer.
struct Waiter {
    told: oneshot::Sender<Told>,
    keep: Keep,
}

/// What of an answer is to be kept, whether or not somebody hears it.
enum Keep {
    Nothing,
    /// It has a file's handle, which somebody must close.
    File,
    /// It is a program's state. The agent tells of its end but once.
    Status(process::Said),
}

type Told = Result<AgentAnswer, Lost>;

/// The channel has ended.
#[derive(Debug)]
struct Lost {
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

    /// Changes the state, and does what comes of it.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let changed = change(&mut state);
        let mut answers = Vec::new();
        while let Some(output) = state.connection.poll_output() {
            match output {
                // Locked, so that the bytes stay in their order. Those of one
                // who does not read are given up with their command.
                AgentOutput::Transmit(bytes) => {
                    let _ = self.stream.as_ref().map(|stream| stream.send(&bytes));
                }
                AgentOutput::Answer { waiter, answer } => answers.push((waiter, answer)),
            }
        }
        drop(state);
        // Unlocked, for waking a waiter may run code of its executor.
        for (waiter, answer) in answers {
            let Waiter { told, keep } = waiter;
            let answer = match &keep {
                Keep::Status(said) => said.keep(answer),
                Keep::File | Keep::Nothing => answer,
            };
            if let Err(Ok(answer)) = told.send(Ok(answer))
                && let Keep::File = keep
            {
                self.close_unheard_of(answer);
            }
        }
        changed
    }

    /// Has the agent close the file that it has opened, if it has, for one who
    /// is not there any more.
    fn close_unheard_of(&self, answer: AgentAnswer) {
        if let Ok(handle) = call::typed(answer) {
            self.close_file(handle);
        }
    }

    /// Has the agent close a file; nobody waits for that.
    fn close_file(&self, handle: i64) {
        let arguments = format!(r#"{{"handle":{handle}}}"#);
        let line = Line::new("guest-file-close", Some(arguments.as_bytes()), false);
        let waiter = Waiter {
            told: oneshot::channel().0,
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
                let _ = waiter.told.send(Err(Lost { cause, was_sent }));
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
