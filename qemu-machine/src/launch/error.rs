//! Why a launch failed.

use std::error::Error as StdError;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::Disconnected;
use qemu_qmp::error::{ConnectError, ExecuteError, MigrationError};

use crate::launch::advice;
use crate::life::{ExitReport, Tails};
use crate::registry::RegistryError;
use crate::spec::CommandLine;
use qemu_qmp::error::ErrorKind;

/// A launch failed. Nothing of the machine is left.
///
/// A killed process may still be blocked in the kernel. Then this process waits
/// for it in the background.
#[derive(Clone)]
#[non_exhaustive]
pub struct LaunchError {
    /// The machine's name.
    pub name: String,
    /// Why it failed.
    pub failure: Box<LaunchFailure>,
    /// The command line; `None` if the launch failed before it was complete.
    pub command_line: Option<CommandLine>,
    /// How the process ended, and its output; `None` if no process was started,
    /// or if it has not ended although it was killed.
    pub report: Option<Arc<ExitReport>>,
    /// The time from the call to the failure.
    pub elapsed: Duration,
}

/// Why a launch failed.
#[derive(Clone)]
#[non_exhaustive]
pub enum LaunchFailure {
    /// `PATH` has no such program.
    NotFound {
        /// The name of the program.
        program: OsString,
    },
    /// The program cannot be executed: it is missing, a directory, not a
    /// program, or not permitted.
    NotExecutable {
        /// Its path.
        program: PathBuf,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// An option that makes QEMU leave the started process, so nothing could
    /// supervise it: `-daemonize`.
    Refused {
        /// The option.
        option: OsString,
    },
    /// An argument is in the way of a machine that can be frozen or cloned.
    NotFreezable {
        /// The argument.
        option: OsString,
        /// What is wrong with it, and what to do.
        reason: &'static str,
    },
    /// The machine cannot take the guest of its template, or the files of the
    /// template have changed. No process was started, unless only the running
    /// QEMU shows that it is another one.
    NotOfTemplate {
        /// What differs, and what to do.
        reason: String,
    },
    /// This host has too little memory or disk space for the guest. No process
    /// was started.
    NoSpace {
        /// How much there is and how much is needed.
        reason: String,
    },
    /// QEMU could not load the guest of the template. The process was killed.
    NotLoaded(MigrationError),
    /// An argument or a variable of the environment contains a NUL.
    Nul {
        /// The argument.
        word: OsString,
    },
    /// The arguments and the environment are longer than the system allows.
    ArgumentsTooLong {
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// A directory or file that the launch needs is not available.
    File {
        /// What the launch did with it.
        action: &'static str,
        /// Its path.
        path: PathBuf,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// The system has no free process, thread or descriptor, or lacks a system
    /// call. Linux 5.9 is the minimum.
    Resources {
        /// What the launch did.
        action: &'static str,
        /// The error of the system.
        cause: Arc<io::Error>,
    },
    /// The machine could not be published. If its process had started, it was
    /// killed.
    Publish(RegistryError),
    /// This process cannot listen on the address of the monitor.
    Monitor(ConnectError),
    /// The process ended before the QMP handshake finished.
    Exited,
    /// The monitor closed the connection, or did not follow the protocol. The
    /// process was killed.
    NoMonitor(Disconnected),
    /// QEMU refused to start the guest (`cont`). The process was killed.
    NotRun(ExecuteError),
    /// A console uses a serial port that the machine does not have. The process
    /// was killed.
    NoSerialPort {
        /// The console's name; `None` for the first console.
        console: Option<String>,
        /// The number of the serial port, counted from 1.
        number: usize,
    },
    /// The QMP handshake did not finish in time. The process was killed.
    Timeout {
        /// The deadline.
        limit: Duration,
        /// What the launch was waiting for.
        waited_for: &'static str,
    },
    /// The caller gave the launch up, by
    /// [`cancel_on`](crate::launch::Launch::cancel_on). The process was killed.
    Cancelled,
}

impl fmt::Display for LaunchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound { program } if program.is_empty() => {
                f.write_str("the name of the program is empty")
            }
            Self::NotFound { program } => {
                write!(f, "no program '{}' in PATH", program.display())
            }
            Self::NotExecutable { program, cause } => {
                write!(f, "cannot execute '{}': {cause}", program.display())
            }
            Self::Refused { option } => write!(
                f,
                "option {} is not allowed: QEMU would leave the supervised process",
                option.display()
            ),
            Self::NotFreezable { option, reason } => write!(
                f,
                "the guest could not be frozen because of {}: {reason}",
                option.display()
            ),
            Self::NotOfTemplate { reason } => {
                write!(f, "the template's guest cannot be loaded: {reason}")
            }
            Self::NoSpace { reason } => f.write_str(reason),
            Self::NotLoaded(cause) => write!(f, "QEMU did not load the template's guest: {cause}"),
            #[allow(clippy::unnecessary_debug_formatting)] // Shows the NUL.
            Self::Nul { word } => write!(f, "an argument contains a NUL: {word:?}"),
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
            Self::Publish(cause) => write!(f, "{cause}"),
            Self::Monitor(cause) => write!(f, "{cause}"),
            Self::Exited => f.write_str("QEMU exited before the QMP handshake finished"),
            Self::NoMonitor(cause) => write!(f, "the QMP monitor failed: {cause}"),
            Self::NotRun(cause) => write!(f, "cannot start the guest: {cause}"),
            Self::NoSerialPort { console, number } => {
                match console {
                    Some(name) => write!(f, "console '{name}' has no device")?,
                    None => f.write_str("the console has no device")?,
                }
                write!(f, ": this machine has no serial port number {number}")
            }
            Self::Timeout { limit, waited_for } => {
                write!(f, "no {waited_for} within {limit:?}")
            }
            Self::Cancelled => f.write_str("cancelled by the caller"),
        }
    }
}

impl StdError for LaunchFailure {}

impl LaunchFailure {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::NotExecutable { cause, .. }
            | Self::File { cause, .. }
            | Self::Resources { cause, .. } => ErrorKind::of_io(cause),
            Self::Refused { .. }
            | Self::NotFreezable { .. }
            | Self::NotOfTemplate { .. }
            | Self::Nul { .. }
            | Self::ArgumentsTooLong { .. } => ErrorKind::InvalidInput,
            Self::Publish(cause) => cause.kind(),
            Self::Monitor(cause) => cause.kind(),
            Self::Exited => ErrorKind::Ended,
            Self::NoMonitor(cause) => cause.kind(),
            Self::NotRun(cause) => cause.kind(),
            Self::NotLoaded(cause) => cause.kind(),
            Self::NoSerialPort { .. } => ErrorKind::Unsupported,
            Self::NoSpace { .. } => ErrorKind::System,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Cancelled => ErrorKind::Cancelled,
        }
    }

    /// The error of the system behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::NotExecutable { cause, .. }
            | Self::File { cause, .. }
            | Self::Resources { cause, .. }
            | Self::ArgumentsTooLong { cause } => Some(cause),
            Self::Publish(cause) => cause.io_error(),
            Self::Monitor(cause) => cause.io_error(),
            Self::NoMonitor(cause) => cause.io_error(),
            Self::NotRun(cause) => cause.io_error(),
            Self::NotLoaded(cause) => cause.io_error(),
            _ => None,
        }
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
        let name = name.escape_debug();
        write!(
            f,
            "machine '{name}': launch failed after {elapsed:.1?}: {failure}"
        )?;
        if let Some(report) = report {
            write!(f, "; the process {}", report.status)?;
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
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }

    /// The error of the system behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.failure.io_error()
    }

    /// What to do, if the cause is known: the package to install, a port in
    /// use, missing permission for KVM.
    pub fn advice(&self) -> Option<String> {
        advice::on(&self.failure, self.report.as_deref())
    }
}

impl StdError for LaunchError {}
