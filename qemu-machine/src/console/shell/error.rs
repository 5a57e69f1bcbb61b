//! What can go wrong with a shell.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use qemu_qmp::engine::Elapsed;

use crate::console::{Console, ExpectError, ExpectFailure, REPORTED_BYTES, SendError, what};
use crate::report::Tails;

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
    /// The last 4 KiB of what the console said and nobody took.
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
    },
    /// The user or the password was refused.
    Refused,
    /// A password was asked for, and none was given.
    PasswordWanted,
    /// An earlier operation was given up or timed out, so the shell may still
    /// be at that. [`Shell::recover`](crate::Shell::recover) ends it.
    Unknown {
        /// What it was to do then.
        task: String,
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
            Self::Timeout { limit } => write!(f, "it had not come to an end within {limit:?}"),
            Self::Refused => f.write_str("it was refused"),
            Self::PasswordWanted => f.write_str("a password was asked for"),
            Self::Unknown { task } => write!(
                f,
                "it may still be about to {task}, and has not been recovered"
            ),
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
            Err(Elapsed(limit)) => Err(self.failed(ShellFailure::Timeout { limit })),
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
            seen,
            output,
        } = self;
        let console = what(machine, console.as_deref());
        write!(
            f,
            "the shell on {console} did not {task} ({waited:.1?}): {failure}"
        )?;
        // A report of the machine's end has its own.
        if let ShellFailure::Console(ExpectFailure::MachineEnded(_)) = &**failure {
            return Ok(());
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
