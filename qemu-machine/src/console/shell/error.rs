//! The errors of a shell.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use qemu_qmp::error::ErrorKind;
use qemu_qmp_engine::{Either, Elapsed, race};

use super::line::HasNul;
use crate::console::handle::REPORTED_BYTES;
use crate::console::{Console, ExpectError, ExpectFailure, SendError, subject};
use crate::life::{GuestState, IfPaused, Tails};

/// A shell did not do its task.
#[derive(Clone)]
#[non_exhaustive]
pub struct ShellError {
    /// The machine's name.
    pub machine: String,
    /// The console's name; `None` for the machine's first one.
    pub console: Option<Box<str>>,
    /// The task, such as `run 'make'`.
    pub task: String,
    /// The reason.
    pub failure: Box<ShellFailure>,
    /// How long the operation waited.
    pub waited: Duration,
    /// The inputs that a log-in had typed, in order. A password is only called
    /// `the password`.
    pub typed: Box<[String]>,
    /// What a log-in was waiting for; `None` for other tasks.
    pub awaited: Option<Box<str>>,
    /// The last 4 KiB that the console printed. For a command, only output after
    /// the last match that was taken. For a log-in, all output, without the
    /// password if the guest echoed it.
    pub seen: Box<[u8]>,
    /// The last 64 KiB that QEMU itself printed.
    pub output: Box<[u8]>,
}

/// Why a shell did not do its task.
#[derive(Clone)]
#[non_exhaustive]
pub enum ShellFailure {
    /// The task had not finished by the deadline. The shell may still be at it:
    /// see [`Shell::recover`](crate::Shell::recover).
    Timeout {
        /// The deadline.
        limit: Duration,
        /// Whether the guest was running at the deadline.
        guest: GuestState,
    },
    /// The guest refused the user or the password. `seen` has its own words.
    Refused,
    /// The guest asked for a user, and the caller gave none.
    UserWanted,
    /// The guest asked for a password, and the caller gave none.
    PasswordWanted,
    /// The password was right but has expired: the guest asks for a new one.
    PasswordExpired,
    /// The account has expired.
    AccountExpired,
    /// The guest asked for the user again and again.
    AskedAgain {
        /// How often the name was typed.
        times: usize,
    },
    /// The console already had an open shell, of another user.
    OtherUser {
        /// The shell's user.
        user: String,
    },
    /// The user or the password contains a control character, which a terminal
    /// reads as a key.
    ControlCharacter,
    /// An earlier operation was dropped, timed out or is still under way, so the
    /// shell may be busy. [`Shell::recover`](crate::Shell::recover) ends that.
    Unknown {
        /// The earlier task.
        task: String,
    },
    /// The guest was reset, which ended the shell. Open another one with
    /// [`Console::shell`](crate::Console::shell).
    GuestReset,
    /// The command that should end the shell failed.
    CommandFailed {
        /// Its exit status.
        status: i32,
        /// Its output.
        output: String,
    },
    /// The command printed more than the console's ring keeps while nobody read
    /// it. The console's log has the bytes.
    OutputLost {
        /// How many bytes are missing.
        lost_bytes: u64,
    },
    /// The command contains a NUL, which cannot be typed into a shell.
    Nul,
    /// The console or the machine ended, or QEMU keeps the guest paused.
    Console(ExpectFailure),
    /// The input did not reach the console, which has not ended.
    NotSent(SendError),
}

impl fmt::Display for ShellFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { limit, guest } => {
                write!(f, "not finished within {limit:?}{}", IfPaused(guest))
            }
            Self::Refused => f.write_str("the guest refused the user or the password"),
            Self::UserWanted => f.write_str("the guest asks for a user; give one with `user()`"),
            Self::PasswordWanted => {
                f.write_str("the guest asks for a password; give one with `password()`")
            }
            Self::PasswordExpired => {
                f.write_str("the password has expired, and the guest asks for a new one")
            }
            Self::AccountExpired => f.write_str("the account has expired"),
            Self::AskedAgain { times } => {
                write!(
                    f,
                    "the name was typed {times} times, and the guest asks again"
                )
            }
            Self::OtherUser { user } => {
                write!(f, "the console already has a shell, of user '{user}'")
            }
            Self::ControlCharacter => {
                f.write_str("the user or the password contains a control character")
            }
            Self::Unknown { task } => write!(
                f,
                "the shell may still be busy with an earlier task: {task}; call `recover()` first"
            ),
            Self::GuestReset => f.write_str(
                "the guest was reset, which ended this shell; open another one with \
                 `console().shell()`",
            ),
            Self::CommandFailed { status, output } => {
                write!(f, "the command failed with status {status}: {output}")
            }
            Self::OutputLost { lost_bytes } => write!(
                f,
                "{lost_bytes} bytes of the output are lost: they came faster than they were \
                 read; set a larger ring with `ring_bytes()`"
            ),
            Self::Nul => f.write_str("the command contains a NUL"),
            Self::Console(cause) => write!(f, "{cause}"),
            Self::NotSent(cause) => write!(f, "{cause}"),
        }
    }
}

impl Error for ShellFailure {}

impl ShellFailure {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Refused
            | Self::PasswordExpired
            | Self::AccountExpired
            | Self::AskedAgain { .. }
            | Self::OtherUser { .. }
            | Self::CommandFailed { .. } => ErrorKind::Refused,
            Self::UserWanted
            | Self::PasswordWanted
            | Self::ControlCharacter
            | Self::Unknown { .. }
            | Self::Nul => ErrorKind::InvalidInput,
            Self::GuestReset => ErrorKind::Guest,
            Self::OutputLost { .. } => ErrorKind::Lagged,
            Self::Console(cause) => cause.kind(),
            Self::NotSent(cause) => cause.kind(),
        }
    }
}

/// A task of a shell, for its errors.
pub(super) struct Task<'a> {
    pub(super) console: &'a Console,
    pub(super) what: String,
    pub(super) begun: Instant,
}

impl<'a> Task<'a> {
    pub(super) fn begin(console: &'a Console, what: String) -> Self {
        Self {
            console,
            what,
            begun: Instant::now(),
        }
    }

    /// Waits for the task's work until the deadline.
    pub(super) async fn within<T>(
        &self,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T, ShellFailure>>,
    ) -> Result<T, ShellError> {
        let deadlines = &self.console.shared.deadlines;
        match deadlines.timeout(limit, work).await {
            Ok(done) => done.map_err(|failure| self.failed(failure)),
            Err(Elapsed(limit)) => {
                let guest = self.console.shared.observed.guest();
                Err(self.failed(ShellFailure::Timeout { limit, guest }))
            }
        }
    }

    /// Waits for the work of a shell that was opened after `resets` resets of
    /// the guest. Another reset ends the shell. Output from before the reset
    /// still counts.
    pub(super) async fn unless_reset<T>(
        &self,
        resets: u64,
        work: impl Future<Output = Result<T, ShellFailure>>,
    ) -> Result<T, ShellFailure> {
        let reset = self.console.shared.observed.reset_after(resets);
        match race(work, reset).await {
            Either::Left(done) => done,
            Either::Right(()) => Err(ShellFailure::GuestReset),
        }
    }

    pub(super) fn failed(&self, failure: ShellFailure) -> ShellError {
        let shared = &self.console.shared;
        ShellError {
            machine: shared.machine.clone(),
            console: shared.name.as_deref().map(Into::into),
            task: self.what.clone(),
            failure: Box::new(failure),
            waited: self.begun.elapsed(),
            typed: Box::default(),
            awaited: None,
            seen: self.console.lock().last_untaken(REPORTED_BYTES).into(),
            output: shared.output.tail().into(),
        }
    }
}

impl From<HasNul> for ShellFailure {
    fn from(HasNul: HasNul) -> Self {
        Self::Nul
    }
}

impl From<ExpectFailure> for ShellFailure {
    fn from(failure: ExpectFailure) -> Self {
        Self::Console(failure)
    }
}

impl From<ExpectError> for ShellFailure {
    fn from(error: ExpectError) -> Self {
        Self::Console(*error.failure)
    }
}

impl From<SendError> for ShellFailure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Closed { .. } => Self::Console(ExpectFailure::Closed),
            SendError::MachineEnded { report, .. } => {
                Self::Console(ExpectFailure::MachineEnded(report))
            }
            SendError::NoConsole { reason, .. } => {
                Self::Console(ExpectFailure::NoConsole { reason })
            }
            error => Self::NotSent(error),
        }
    }
}

impl fmt::Display for ShellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            machine,
            console,
            task,
            failure,
            waited,
            typed,
            awaited,
            seen,
            output,
        } = self;
        let console = subject(machine, console.as_deref());
        write!(
            f,
            "{console}: the shell did not {task} ({waited:.1?}): {failure}"
        )?;
        if let (Some(awaited), ShellFailure::Timeout { .. }) = (awaited, &**failure) {
            write!(f, "; it waited for {awaited}")?;
        }
        // The report of the machine's end has its own tails.
        if let ShellFailure::Console(ExpectFailure::MachineEnded(_)) = &**failure {
            return Ok(());
        }
        if !typed.is_empty() {
            write!(f, "; typed: {}", in_brief(typed))?;
        }
        let tails = Tails {
            output,
            console: seen,
            named: &[],
        };
        write!(f, "{tails}")
    }
}

impl Error for ShellError {}

impl ShellError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }
}

/// The inputs, each with how often it was typed in a row.
fn in_brief(typed: &[String]) -> String {
    let runs = typed.chunk_by(|one, other| one == other);
    let words = runs.map(|run| match run.len() {
        1 => run[0].clone(),
        times => format!("{} ({times} times)", run[0]),
    });
    words.collect::<Vec<_>>().join(", ")
}
