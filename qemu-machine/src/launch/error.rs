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

use crate::launch::advice;
use crate::life::{ExitReport, Tails};
use crate::spec::CommandLine;

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
    /// An option among the arguments makes QEMU leave the process that was
    /// started, so that nothing could supervise it: `-daemonize`.
    Refused {
        /// The option.
        option: OsString,
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
    /// A console is on a serial port that the machine does not have; the
    /// process was killed.
    NoSerialPort {
        /// The console's name; `None` for the first console.
        console: Option<String>,
        /// Which serial port, counted from 1.
        number: usize,
    },
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
            Self::NotFound { program } if program.is_empty() => {
                f.write_str("the name of the program to be started is empty")
            }
            Self::NotFound { program } => {
                write!(f, "there is no program '{}' in PATH", program.display())
            }
            Self::NotExecutable { program, cause } => {
                write!(f, "'{}' cannot be executed: {cause}", program.display())
            }
            Self::Refused { option } => write!(
                f,
                "the option {} is refused: QEMU would leave the process that is supervised",
                option.display()
            ),
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
            Self::NoSerialPort { console, number } => {
                match console {
                    Some(name) => write!(f, "console '{name}' has no device")?,
                    None => f.write_str("the console has no device")?,
                }
                write!(f, ": this machine has no serial port number {number}")
            }
            Self::Timeout { limit, waited_for } => {
                write!(f, "there was no {waited_for} within {limit:?}")
            }
        }
    }
}

impl StdError for LaunchFailure {}

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
            for survivor in &report.survivors {
                write!(f, "; {survivor}")?;
            }
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
