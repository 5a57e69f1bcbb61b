//! What can go wrong with a shell.

use crate::console::handle::REPORTED_BYTES;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use qemu_qmp_engine::{Either, Elapsed, race};

use crate::console::{Console, ExpectError, ExpectFailure, SendError, what};
use crate::life::Tails;
use crate::life::{GuestState, IfPaused};

/// A shell did not do what it was to.
#[derive(Clone)]
#[non_exhaustive]
pub struct ShellError {
    /// The machine's name.
    pub machine: String,
    /// The console's name; `None` for the machine's first one.
    pub console: Option<Box<str>>,
    /// What the shell was to do.
    pub task: String,
    /// What happened instead.
    pub failure: Box<ShellFailure>,
    /// How long it was waited for.
    pub waited: Duration,
    /// What a log-in had typed until then, in words and one after the other; a
    /// password is but called so.
    pub typed: Box<[String]>,
    /// What a log-in waited for; `None` for all else.
    pub awaited: Option<Box<str>>,
    /// The last 4 KiB of what the console said: to a log-in in all, without the
    /// password where the guest has echoed that; to a command since the last
    /// match that was taken.
    pub seen: Box<[u8]>,
    /// The last 64 KiB of what QEMU itself has printed.
    pub output: Box<[u8]>,
}

/// Why a shell did not do what it was to.
#[derive(Clone)]
#[non_exhaustive]
pub enum ShellFailure {
    /// It had not come to an end by the deadline. What the shell does now is
    /// not known: see [`Shell::recover`](crate::Shell::recover).
    Timeout {
        /// The deadline.
        limit: Duration,
        /// Whether the guest ran then.
        guest: GuestState,
    },
    /// The user or the password was refused. `seen` has the guest's own words.
    Refused,
    /// A user was asked for, and none was given.
    UserWanted,
    /// A password was asked for, and none was given.
    PasswordWanted,
    /// The password was right and has expired: the guest wants a new one.
    PasswordExpired,
    /// The account has expired.
    AccountExpired,
    /// The user was asked for again and again.
    AskedAgain {
        /// How often the name was typed.
        times: usize,
    },
    /// Nobody had to log in, as the shell of another user was there.
    OtherUser {
        /// Whose it is.
        user: String,
    },
    /// The user or the password has a control character in it, which a terminal
    /// takes for a key.
    ControlCharacter,
    /// An earlier operation was given up or timed out, so the shell may still
    /// be at that. [`Shell::recover`](crate::Shell::recover) ends it.
    Unknown {
        /// What it was to do then.
        task: String,
    },
    /// The guest was reset, and the shell is gone with all that it was at. Open
    /// another one with [`Console::shell`](crate::Console::shell).
    GuestReset,
    /// The command that was to end the shell has failed.
    CommandFailed {
        /// Its exit status.
        status: i32,
        /// What it wrote.
        output: String,
    },
    /// The command has a NUL in it, which no shell can be given.
    Nul,
    /// The console or the machine has ended, or the guest is held.
    Console(ExpectFailure),
    /// What was typed did not reach the console, which lives.
    NotSent(SendError),
}

impl fmt::Display for ShellFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { limit, guest } => write!(
                f,
                "it had not come to an end within {limit:?}{}",
                IfPaused(guest)
            ),
            Self::Refused => f.write_str("it was refused"),
            Self::UserWanted => f.write_str("a user was asked for, and none was given"),
            Self::PasswordWanted => f.write_str("a password was asked for, and none was given"),
            Self::PasswordExpired => {
                f.write_str("the password has expired, and the guest asks for a new one")
            }
            Self::AccountExpired => f.write_str("the account has expired"),
            Self::AskedAgain { times } => {
                write!(f, "the name was typed {times} times and asked for again")
            }
            Self::OtherUser { user } => {
                write!(f, "the shell of '{user}' was there, without a log-in")
            }
            Self::ControlCharacter => {
                f.write_str("the user or the password has a control character in it")
            }
            Self::Unknown { task } => write!(
                f,
                "it may still be about to {task}, and has not been recovered"
            ),
            Self::GuestReset => f.write_str(
                "the guest was reset, and this shell is gone; open another one with \
                 console().shell()",
            ),
            Self::CommandFailed { status, output } => {
                write!(f, "the command failed with status {status}: {output}")
            }
            Self::Nul => f.write_str("there is a NUL in it"),
            Self::Console(cause) => write!(f, "{cause}"),
            Self::NotSent(cause) => write!(f, "{cause}"),
        }
    }
}

impl Error for ShellFailure {}

/// One thing that a shell is to do, for its errors.
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

    /// Waits for all that belongs to it.
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

    /// Waits for what a shell does that was opened after so many resets of the
    /// guest. A reset takes the shell away; what the console said before it
    /// counts.
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
        let console = what(machine, console.as_deref());
        write!(
            f,
            "the shell on {console} did not {task} ({waited:.1?}): {failure}"
        )?;
        if let (Some(awaited), ShellFailure::Timeout { .. }) = (awaited, &**failure) {
            write!(f, "; it waited for {awaited}")?;
        }
        // A report of the machine's end has its own.
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

impl std::error::Error for ShellError {}

/// What was typed, and how often in a row.
fn in_brief(typed: &[String]) -> String {
    let runs = typed.chunk_by(|one, other| one == other);
    let words = runs.map(|run| match run.len() {
        1 => run[0].clone(),
        times => format!("{} ({times} times)", run[0]),
    });
    words.collect::<Vec<_>>().join(", ")
}
