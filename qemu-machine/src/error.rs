//! What can go wrong in the life of a machine. What its monitor and console
//! can have go wrong stands with them.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::{ConnectError, Disconnected, ExecuteError};

use crate::advice;
use crate::command_line::CommandLine;
use crate::report::{ExitReport, Tails};

/// A machine was not launched. Nothing of it is left, but for a process that
/// was killed and waits in the kernel: it is waited for in the background.
#[non_exhaustive]
pub struct LaunchError {
    /// The machine's name.
    pub name: String,
    /// What went wrong.
    pub failure: Box<LaunchFailure>,
    /// The command line; `None` where it did not come to one.
    pub command_line: Option<CommandLine>,
    /// How the process ended, and what it printed; `None` where none was
    /// started, or it has not ended although it was killed.
    pub report: Option<Arc<ExitReport>>,
    /// From the call to the failure.
    pub elapsed: Duration,
}

/// Why a machine was not launched.
#[derive(Debug)]
#[non_exhaustive]
pub enum LaunchFailure {
    /// There is no such program in `PATH`.
    NotFound {
        /// What was looked for.
        program: OsString,
    },
    /// The program cannot be executed: it is missing, a directory, no program,
    /// or not permitted.
    NotExecutable {
        /// Its path.
        program: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// An argument, or a variable of the environment, has a NUL in it.
    Nul {
        /// The argument.
        word: OsString,
    },
    /// The arguments and the environment are more than the system allows.
    ArgumentsTooLong {
        /// What the system says.
        cause: io::Error,
    },
    /// A directory or file that the launch needs cannot be had.
    File {
        /// What was to be done with it.
        action: &'static str,
        /// Its path.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// The system has no process, thread or descriptor left for us, or lacks
    /// a call that we need (Linux 5.9 is the least).
    Resources {
        /// What was to be done.
        action: &'static str,
        /// What the system says.
        cause: io::Error,
    },
    /// The monitor's address cannot be listened on.
    Monitor(ConnectError),
    /// The process ended before the machine could be spoken with.
    Exited,
    /// The monitor was closed, or spoke no QMP; the process was killed.
    NoMonitor(Disconnected),
    /// QEMU refused to let the guest run (`cont`); the process was killed.
    NotRun(ExecuteError),
    /// The machine could not be spoken with in time; the process was killed.
    Timeout {
        /// The deadline.
        limit: Duration,
        /// What was still to come.
        waited_for: &'static str,
    },
}

impl fmt::Display for LaunchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { program } => {
                write!(f, "there is no program '{}' in PATH", program.display())
            }
            Self::NotExecutable { program, cause } => {
                write!(f, "'{}' cannot be executed: {cause}", program.display())
            }
            #[allow(clippy::unnecessary_debug_formatting)] // Its NUL is to be seen.
            Self::Nul { word } => write!(
                f,
                "an argument cannot be passed on, for it has a NUL in it: {word:?}"
            ),
            Self::ArgumentsTooLong { cause } => {
                write!(f, "the arguments and the environment are too long: {cause}")
            }
            Self::File {
                action,
                path,
                cause,
            } => {
                write!(f, "cannot {action} {}: {cause}", path.display())
            }
            Self::Resources { action, cause } => write!(f, "cannot {action}: {cause}"),
            Self::Monitor(cause) => write!(f, "{cause}"),
            Self::Exited => f.write_str("it ended before it could be spoken with"),
            Self::NoMonitor(cause) => write!(f, "its monitor is of no use: {cause}"),
            Self::NotRun(cause) => write!(f, "it cannot be let run: {cause}"),
            Self::Timeout { limit, waited_for } => {
                write!(f, "there was no {waited_for} within {limit:?}")
            }
        }
    }
}

impl StdError for LaunchFailure {}

/// As displayed: it is what `unwrap`, and an error of `main`, show.
impl fmt::Debug for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for LaunchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            failure,
            command_line,
            report,
            elapsed,
        } = self;
        write!(
            f,
            "machine '{name}' was not launched ({elapsed:.1?}): {failure}"
        )?;
        if let Some(report) = report {
            write!(f, "; its process {}", report.status)?;
        }
        if let Some(command_line) = command_line {
            write!(f, "\n  command line: {command_line}")?;
        }
        if let Some(report) = report {
            let tails = Tails {
                output: &report.output_tail,
                console: &report.console_tail,
                named: &report.named_console_tails,
            };
            write!(f, "{tails}")?;
        }
        match self.advice() {
            Some(advice) => write!(f, "\n  advice: {advice}"),
            None => Ok(()),
        }
    }
}

impl LaunchError {
    /// What to do about it, where that is known: the package to install, a
    /// port in use, KVM that is not permitted.
    pub fn advice(&self) -> Option<String> {
        advice::on(&self.failure, self.report.as_deref())
    }
}

impl StdError for LaunchError {}

/// A machine ended otherwise than it was asked to, or not at all.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ShutdownError {
    /// Softer means had failed, so it was killed. What it had not written to
    /// its disks yet is lost.
    Forced(Arc<ExitReport>),
    /// QEMU died by a signal, or exited with a code that is not 0, without
    /// being asked to.
    Failed(Arc<ExitReport>),
    /// It was killed, but waits in the kernel and has not ended yet. It is
    /// waited for in the background.
    Unkillable {
        /// The machine's name.
        name: String,
        /// Its process.
        pid: u32,
    },
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forced(report) => write!(f, "the machine had to be killed: {report}"),
            Self::Failed(report) => write!(f, "QEMU failed: {report}"),
            Self::Unkillable { name, pid } => write!(
                f,
                "machine '{name}' (pid {pid}) was killed but has not ended: it waits in the \
                 kernel"
            ),
        }
    }
}

impl StdError for ShutdownError {}

impl ShutdownError {
    /// How the machine ended; `None` where it has not.
    pub fn report(&self) -> Option<&Arc<ExitReport>> {
        match self {
            Self::Forced(report) | Self::Failed(report) => Some(report),
            Self::Unkillable { .. } => None,
        }
    }
}

/// A machine has not ended by itself.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ExitError {
    /// It lives on after the deadline.
    Timeout {
        /// The machine's name.
        name: String,
        /// The deadline.
        limit: Duration,
        /// What QEMU and the console said last, in lines of their own.
        seen: String,
    },
    /// The guest has panicked, and QEMU holds it, as it was told to
    /// (`-action panic=pause`). It will not end by itself.
    GuestPanicked {
        /// The machine's name.
        name: String,
        /// What QEMU and the console said last, in lines of their own.
        seen: String,
    },
    /// The guest has shut down, and QEMU holds it, as it was told to
    /// (`-no-shutdown`). It will not end by itself.
    GuestShutDown {
        /// The machine's name.
        name: String,
        /// QEMU's reason: `guest-shutdown`.
        reason: String,
        /// What QEMU and the console said last, in lines of their own.
        seen: String,
    },
}

impl fmt::Display for ExitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { name, limit, seen } => {
                write!(f, "machine '{name}' has not ended within {limit:?}{seen}")
            }
            // The guest is in what was seen.
            Self::GuestPanicked { name, seen } | Self::GuestShutDown { name, seen, .. } => {
                write!(f, "machine '{name}' does not end by itself{seen}")
            }
        }
    }
}

impl StdError for ExitError {}
