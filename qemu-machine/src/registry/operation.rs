//! The owner's commands as operations: status, shutdown and kill.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qemu_qmp::Client;
use qemu_qmp::error::{ConnectError, ErrorKind, ExecuteError};
use qemu_qmp_engine::{self as engine, Elapsed, operation, timeout_option};
use serde_json::{Value, json};

use super::entry::Entry;
use super::lines::on_engine;
use super::own_command::{KILL, Options, QuitTimeout, SHUTDOWN, STATUS};
use super::report_json::{read_guest, read_report, seconds};
use super::{PublishedMachine, claim};
use crate::life::{ExitReport, GuestState, Rung};
use crate::{process, sys};

/// The state of a published machine, by its owner.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct MachineStatus {
    /// What the owner wrote about the machine.
    pub machine: Entry,
    /// The time since the start of the process.
    pub uptime: Duration,
    /// Whether the guest runs.
    pub guest: GuestState,
}

impl fmt::Display for MachineStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            machine,
            uptime,
            guest,
        } = self;
        let (name, pid) = (&machine.name, machine.pid);
        write!(
            f,
            "machine '{name}' (process {pid}) has run for {uptime:.1?}: {guest}"
        )
    }
}

/// Asks for the state of a machine; made by [`PublishedMachine::status`].
///
/// # Errors
/// [`PublishedError`]; each variant is a reason.
///
/// # Cancel safety
/// Safe: it has no side effects.
#[derive(Debug, Clone)]
#[must_use = "nothing is asked until awaited or waited for"]
pub struct QueryStatus {
    call: Call,
}

/// Ends a machine; made by [`PublishedMachine::shutdown`].
///
/// The owner tries the rungs of [`Machine::shutdown`](crate::Machine::shutdown),
/// with the timeouts that its builder set. If the machine ends without this
/// call, the report is of that end.
///
/// If the owner ends with its machine, this waits for the owner's end, too
/// ([`MachineBuilder::ends_owner`](crate::MachineBuilder::ends_owner)).
///
/// The [`timeout`](Self::timeout) of the whole operation is 2 minutes longer
/// than the timeouts set here. An owner that does not even greet within 30 s is
/// given up earlier, unless there is no timeout.
///
/// # Errors
/// [`PublishedError::Forced`] and [`PublishedError::Failed`] as for the owner's
/// shutdown: the machine has ended. [`PublishedError::Ended`] if another client
/// ended it, and the owner had no time for this one.
/// [`PublishedError::OwnerLives`] if only the machine has ended in time.
/// Otherwise see [`PublishedError`].
///
/// # Cancel safety
/// If the future is dropped after the owner got the command, the machine still
/// ends.
#[derive(Debug, Clone)]
#[must_use = "nothing is ended until awaited or waited for"]
pub struct Shutdown {
    call: Call,
    options: Options,
}

/// Kills a machine; made by [`PublishedMachine::kill`].
///
/// # Errors
/// As for [`Shutdown`].
///
/// # Cancel safety
/// If the future is dropped after the owner got the command, the machine is
/// still killed.
#[derive(Debug, Clone)]
#[must_use = "nothing is killed until awaited or waited for"]
pub struct Kill {
    call: Call,
}

timeout_option!(QueryStatus, call.timeout);
timeout_option!(Shutdown, call.timeout);
timeout_option!(Kill, call.timeout);

operation!(QueryStatus => Result<MachineStatus, PublishedError>);
operation!(Shutdown => Result<Arc<ExitReport>, PublishedError>);
operation!(Kill => Result<Arc<ExitReport>, PublishedError>);

impl QueryStatus {
    pub(super) fn new(machine: &PublishedMachine) -> Self {
        let call = Call::new(machine, Duration::from_secs(30));
        Self { call }
    }

    async fn run(self) -> Result<MachineStatus, PublishedError> {
        let answer = self.call.execute(STATUS, json!({})).await?;
        let read = || {
            Some(MachineStatus {
                machine: Entry::of_json(&answer["machine"])?,
                uptime: seconds(&answer["uptime"])?,
                guest: read_guest(&answer["guest"])?,
            })
        };
        read().ok_or_else(|| self.call.unexpected(&answer))
    }
}

impl Shutdown {
    pub(super) fn new(machine: &PublishedMachine) -> Self {
        Self {
            call: Call::new(machine, PATIENCE),
            options: Options::default(),
        }
    }

    /// First waits up to `limit` for the guest to power off by itself. Sends
    /// nothing during that time.
    pub fn after_guest(mut self, limit: Duration) -> Self {
        self.options.guest = Some((Rung::Guest, limit));
        self.wait_longer(limit)
    }

    /// First presses the power button of the guest (`system_powerdown`), and
    /// waits up to `limit` for the guest to power off.
    pub fn powerdown(mut self, limit: Duration) -> Self {
        self.options.guest = Some((Rung::Powerdown, limit));
        self.wait_longer(limit)
    }

    /// Sets how long the owner waits after `quit`. `None` waits until QEMU exits,
    /// and removes the timeout of the operation.
    pub fn quit_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        if let Some(limit) = limit.into() {
            self.options.quit = QuitTimeout::Set(limit);
            return self.wait_longer(limit);
        }
        self.options.quit = QuitTimeout::Endless;
        self.call.timeout = None;
        self
    }

    /// Sets how long the owner waits after SIGTERM.
    pub fn terminate_timeout(mut self, limit: Duration) -> Self {
        self.options.terminate = Some(limit);
        self.wait_longer(limit)
    }

    fn wait_longer(mut self, time: Duration) -> Self {
        let timeout = self.call.timeout;
        self.call.timeout = timeout.map(|timeout| timeout.saturating_add(time));
        self
    }

    async fn run(self) -> Result<Arc<ExitReport>, PublishedError> {
        self.call.end(SHUTDOWN, self.options.arguments()).await
    }
}

impl Kill {
    pub(super) fn new(machine: &PublishedMachine) -> Self {
        let call = Call::new(machine, PATIENCE);
        Self { call }
    }

    async fn run(self) -> Result<Arc<ExitReport>, PublishedError> {
        self.call.end(KILL, json!({})).await
    }
}

/// One command of the owner, over its own connection.
#[derive(Debug, Clone)]
struct Call {
    machine: PublishedMachine,
    timeout: Option<Duration>,
}

impl Call {
    fn new(machine: &PublishedMachine, timeout: Duration) -> Self {
        Self {
            machine: machine.clone(),
            timeout: Some(timeout),
        }
    }

    async fn execute(&self, command: &str, arguments: Value) -> Result<Value, PublishedError> {
        // The timers need it.
        engine::Engine::start().map_err(|error| PublishedError::Connect(error.into()))?;
        let exchange = async {
            // An owner that is stopped or hangs does not even greet.
            let patience = self.timeout.map(|it| it.min(GREETING_PATIENCE));
            let greeted = self.machine.monitor().timeout(None).into_future();
            let greeted = engine::timeout(patience, greeted).await;
            let monitor = greeted.map_err(|Elapsed(limit)| self.not_in_time(limit))?;
            let monitor: Client = monitor.map_err(|error| self.not_connected(error))?;
            let answer = monitor.execute_json(command, arguments).timeout(None);
            answer.await.map_err(|error| self.not_answered(error))
        };
        match engine::timeout(self.timeout, exchange).await {
            Ok(answered) => answered,
            Err(Elapsed(limit)) => Err(self.not_in_time(limit)),
        }
    }

    fn not_in_time(&self, limit: Duration) -> PublishedError {
        PublishedError::Timeout {
            name: self.machine.name().to_owned(),
            owner_pid: self.machine.entry().owner_pid,
            limit,
        }
    }

    /// Ends the machine. If its owner ends with it, waits for that.
    async fn end(
        &self,
        command: &str,
        arguments: Value,
    ) -> Result<Arc<ExitReport>, PublishedError> {
        let started = Instant::now();
        let entry = self.machine.entry();
        // Opened before the end: afterwards, another process may have its id.
        let owner = claim::owner(self.machine.folder()).filter(|_| entry.ends_owner);
        let answer = self.execute(command, arguments).await;
        let ended = answer.and_then(|answer| self.report(&answer));
        let Some(owner) = owner.filter(|_| has_ended(&ended)) else {
            return ended;
        };
        let left = self.timeout.map(|it| it.saturating_sub(started.elapsed()));
        let end = on_engine(left, async move { process::another_ended(&owner).await }).await;
        match end.map_err(|error| PublishedError::Connect(error.into()))? {
            Ok(()) => ended,
            Err(Elapsed(_)) => Err(PublishedError::OwnerLives {
                name: self.machine.name().to_owned(),
                owner_pid: entry.owner_pid,
                limit: self.timeout.unwrap_or_default(),
            }),
        }
    }

    fn not_connected(&self, error: ConnectError) -> PublishedError {
        if self.has_ended() {
            return self.ended();
        }
        PublishedError::Connect(error)
    }

    fn not_answered(&self, error: ExecuteError) -> PublishedError {
        if error.reply().is_none() && self.has_ended() {
            return self.ended();
        }
        PublishedError::Execute(error)
    }

    fn ended(&self) -> PublishedError {
        PublishedError::Ended {
            name: self.machine.name().to_owned(),
        }
    }

    /// Whether the machine has ended. At its end, the owner first reaps QEMU,
    /// then leaves its clients, and then removes the folder.
    fn has_ended(&self) -> bool {
        let is_gone = |error: io::Error| error.raw_os_error() == Some(libc::ESRCH);
        !self.machine.is_alive() || sys::open_process(self.machine.entry().pid).is_err_and(is_gone)
    }

    fn report(&self, answer: &Value) -> Result<Arc<ExitReport>, PublishedError> {
        let report = read_report(&answer["report"]).ok_or_else(|| self.unexpected(answer))?;
        let report = Arc::new(report);
        if report.was_forced() {
            Err(PublishedError::Forced(report))
        } else if report.is_failure() {
            Err(PublishedError::Failed(report))
        } else {
            Ok(report)
        }
    }

    fn unexpected(&self, answer: &Value) -> PublishedError {
        PublishedError::Unexpected {
            name: self.machine.name().to_owned(),
            answer: answer.to_string().chars().take(200).collect(),
        }
    }
}

/// Whether the machine has ended, by this answer of its owner.
fn has_ended(answer: &Result<Arc<ExitReport>, PublishedError>) -> bool {
    use PublishedError::{Ended, Failed, Forced};
    matches!(answer, Ok(_) | Err(Ended { .. } | Failed(_) | Forced(_)))
}

/// An operation on a published machine failed.
#[derive(Clone)]
#[non_exhaustive]
pub enum PublishedError {
    /// The machine has ended, or its owner has.
    Ended {
        /// The machine's name.
        name: String,
    },
    /// The owner cannot be connected to.
    Connect(ConnectError),
    /// The owner refused the command, or ended before its answer.
    Execute(ExecuteError),
    /// The owner did not answer in time.
    Timeout {
        /// The machine's name.
        name: String,
        /// The owner's process.
        owner_pid: u32,
        /// The deadline.
        limit: Duration,
    },
    /// The machine has ended. Its owner did not end in time, though it said that
    /// it does.
    OwnerLives {
        /// The machine's name.
        name: String,
        /// The owner's process.
        owner_pid: u32,
        /// The deadline.
        limit: Duration,
    },
    /// The owner's answer has an unexpected form. The owner may be another
    /// version of this library.
    Unexpected {
        /// The machine's name.
        name: String,
        /// The start of the answer.
        answer: String,
    },
    /// The guest cannot be frozen, because its owner does not offer it.
    NotFreezable {
        /// The machine's name.
        name: String,
    },
    /// The guest was not frozen, and goes on.
    NotFrozen {
        /// The machine's name.
        name: String,
        /// The owner's reason.
        reason: String,
    },
    /// The softer rungs failed, so the machine was killed. Data that was not
    /// yet written to its disks is lost.
    Forced(Arc<ExitReport>),
    /// QEMU was killed by a signal, or exited with a code other than 0, and
    /// nobody asked for it.
    Failed(Arc<ExitReport>),
}

impl PublishedError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Ended { .. } => ErrorKind::Ended,
            Self::Connect(error) => error.kind(),
            Self::Execute(error) => error.kind(),
            Self::Timeout { .. } | Self::OwnerLives { .. } => ErrorKind::Timeout,
            Self::Unexpected { .. } => ErrorKind::Protocol,
            Self::NotFreezable { .. } => ErrorKind::InvalidInput,
            Self::NotFrozen { .. } => ErrorKind::Refused,
            Self::Forced(_) | Self::Failed(_) => ErrorKind::Unclean,
        }
    }

    /// The error of the system behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Connect(error) => error.io_error(),
            Self::Execute(error) => error.io_error(),
            _ => None,
        }
    }

    /// How the machine ended; `None` if that is not known.
    pub fn report(&self) -> Option<&Arc<ExitReport>> {
        match self {
            Self::Forced(report) | Self::Failed(report) => Some(report),
            _ => None,
        }
    }
}

impl fmt::Display for PublishedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended { name } => write!(f, "machine '{name}' has ended"),
            Self::Connect(error) => write!(f, "{error}"),
            Self::Execute(error) => write!(f, "{error}"),
            Self::Timeout {
                name,
                owner_pid,
                limit,
            } => write!(
                f,
                "machine '{name}': its owner, process {owner_pid}, did not answer within \
                 {limit:?}; if that process hangs, kill it: its machines end with it"
            ),
            Self::OwnerLives {
                name,
                owner_pid,
                limit,
            } => write!(
                f,
                "machine '{name}' has ended, but its owner, process {owner_pid}, has not within \
                 {limit:?}; it may wait for the reader of its output"
            ),
            Self::Unexpected { name, answer } => write!(
                f,
                "machine '{name}': its owner's answer has an unexpected form: {answer}"
            ),
            Self::NotFreezable { name } => write!(
                f,
                "machine '{name}': cannot freeze its guest, because it was not started for that; \
                 start it by `qemu-machine run --freezable` (or `clone`, `pool start`), or with \
                 `freezable` on its builder and `offer_freeze`"
            ),
            Self::NotFrozen { name, reason } => {
                write!(f, "machine '{name}': its guest was not frozen: {reason}")
            }
            Self::Forced(report) => write!(
                f,
                "the machine did not stop in time and was killed: {report}"
            ),
            Self::Failed(report) => write!(f, "QEMU failed: {report}"),
        }
    }
}

impl Error for PublishedError {}

/// The timeout of an end whose own timeouts are not known.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long an owner may take to greet, within the time of the whole operation.
const GREETING_PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 30_000 });
