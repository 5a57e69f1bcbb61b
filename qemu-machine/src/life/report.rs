//! How a machine ended.

use crate::life::Survivor;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use qemu_qmp_engine::error_text::Shown;

use crate::life::{GuestExit, Rung, RungOutcome, RungReport};

/// Everything that is known of a machine's end. Everyone who waited on the
/// machine is told the same one.
#[derive(Clone)]
#[non_exhaustive]
pub struct ExitReport {
    /// The machine's name.
    pub name: String,
    /// The process id that QEMU had. It may be another process's by now.
    pub pid: u32,
    /// What QEMU, or the wrapper it was started by, exited with.
    pub status: ExitStatus,
    /// Who wanted the end.
    pub cause: ExitCause,
    /// By which device the guest ended the machine, and with which code; `None`
    /// where it did not, or by one without a code, as when a PC powers off.
    /// No such code is a failure of QEMU's.
    pub guest_exit: Option<GuestExit>,
    /// What was tried to end it, in this order, and how that went; empty
    /// where nobody asked us to.
    pub rungs: Vec<RungReport>,
    /// What QEMU gave as the reason in its `SHUTDOWN` event, such as
    /// `guest-shutdown` or `host-signal`; `None` where it sent none.
    pub shutdown_reason: Option<String>,
    /// Whether the guest's own kernel reported a panic (`GUEST_PANICKED`).
    pub guest_panicked: bool,
    /// From the start of the process to its end.
    pub uptime: Duration,
    /// The last 64 KiB of what QEMU itself printed.
    pub output_tail: Vec<u8>,
    /// The last 4 KiB of the first console, where it was drained.
    pub console_tail: Vec<u8>,
    /// The same of every console that was added to it, by its name.
    pub named_console_tails: Vec<(String, Vec<u8>)>,
    /// The log of QEMU's output; `None` where that was private, and is
    /// removed.
    pub log: Option<PathBuf>,
    /// Which processes were still running when the process that was started
    /// had ended, and what became of them: those that a wrapper left behind.
    /// Those that were being killed with it are not among them.
    pub survivors: Vec<Survivor>,
    /// What could not be written to a log, not be removed, or not be ended.
    pub warnings: Vec<String>,
}

/// What a process exited with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It exited by itself, with this code.
    Code(i32),
    /// It was killed by a signal.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether it left a core dump.
        core_dumped: bool,
    },
    /// It has ended, but something else in this program took its status.
    Unknown,
}

/// Who wanted a machine's end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitCause {
    /// We were asked to end it; this is the rung on which it did.
    Requested(Rung),
    /// The command `quit`, sent over a monitor by somebody else than us.
    QuitCommand,
    /// The guest: it powered off, exited by a device
    /// ([`ExitReport::guest_exit`]), or reset or panicked where QEMU was told
    /// to end at that.
    Guest,
    /// Nobody that we know of: a fault of QEMU's, a signal from outside.
    Outside,
}

impl ExitStatus {
    /// The exit code; `None` for a signal, or where it is unknown.
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The signal's number; `None` where it was none, or is unknown.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Signal { signal, .. } => Some(signal),
            _ => None,
        }
    }
}

impl ExitReport {
    /// Whether softer means had failed, so that the machine was killed. What
    /// it had not written to its disks yet is lost.
    pub fn was_forced(&self) -> bool {
        let softer_failed = self.rungs.iter().any(|report| {
            matches!(
                report.outcome,
                RungOutcome::TimedOut | RungOutcome::Failed(_)
            )
        });
        self.cause == ExitCause::Requested(Rung::Kill) && softer_failed
    }

    /// Whether QEMU failed: it died by a signal, or exited with a code, that
    /// neither we nor the guest had asked for. A code of the
    /// [guest's](Self::guest_exit) is no failure.
    pub fn is_failure(&self) -> bool {
        // `-action panic=exit-failure` has QEMU exit with 1.
        let by_panic = self.cause == ExitCause::Guest && self.guest_panicked;
        if self.guest_exit.is_some() || by_panic {
            return false;
        }
        let asked_for = matches!(
            (&self.cause, self.status.signal()),
            (ExitCause::Requested(Rung::Kill), Some(libc::SIGKILL))
                | (ExitCause::Requested(Rung::Terminate), Some(libc::SIGTERM))
        );
        !asked_for && !matches!(self.status, ExitStatus::Code(0) | ExitStatus::Unknown)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal {
                signal,
                core_dumped,
            } => {
                write!(f, "was killed by signal {signal}")?;
                if let Some(name) = signal_name(*signal) {
                    write!(f, " ({name})")?;
                }
                if *core_dumped {
                    f.write_str(", core dumped")
                } else {
                    Ok(())
                }
            }
            Self::Unknown => f.write_str("ended with a status that something else took"),
        }
    }
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested(rung) => write!(f, "as requested, by {rung}"),
            Self::QuitCommand => f.write_str("by the command 'quit'"),
            Self::Guest => f.write_str("by the guest's own doing"),
            Self::Outside => f.write_str("and nobody had asked for it"),
        }
    }
}

impl fmt::Display for ExitReport {
    /// One line of facts, then what QEMU and the consoles said last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            status,
            cause,
            uptime,
            ..
        } = self;
        if let (Some(exit), ExitStatus::Code(code)) = (&self.guest_exit, status) {
            write!(
                f,
                "machine '{name}' ended after {uptime:.1?}: {exit} (QEMU's status {code})"
            )?;
            if *cause != ExitCause::Guest {
                write!(f, ", {cause}")?;
            }
        } else {
            write!(f, "machine '{name}' {status} after {uptime:.1?}, {cause}")?;
        }
        if let Some(reason) = &self.shutdown_reason {
            write!(f, " ({reason})")?;
        }
        if self.guest_panicked {
            f.write_str("; the guest had panicked")?;
        }
        for rung in &self.rungs {
            write!(f, "; {rung}")?;
        }
        for survivor in &self.survivors {
            write!(f, "; {survivor}")?;
        }
        for warning in &self.warnings {
            write!(f, "; {warning}")?;
        }
        let Self {
            output_tail: output,
            console_tail: console,
            named_console_tails: named,
            ..
        } = self;
        let tails = Tails {
            output,
            console,
            named,
        };
        write!(f, "{tails}")
    }
}

impl Error for ExitReport {}

/// What QEMU and the consoles said last, each in lines of their own behind a
/// message; nothing for one that said nothing.
pub(crate) struct Tails<'a> {
    pub(crate) output: &'a [u8],
    pub(crate) console: &'a [u8],
    pub(crate) named: &'a [(String, Vec<u8>)],
}

impl fmt::Display for Tails<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_tail(f, "QEMU's output", self.output)?;
        write_tail(f, "console", self.console)?;
        let mut named = self.named.iter();
        named.try_for_each(|(name, said)| write_tail(f, &format!("console '{name}'"), said))
    }
}

/// Writes the last lines of some output, where there is any.
fn write_tail(f: &mut fmt::Formatter<'_>, what: &str, bytes: &[u8]) -> fmt::Result {
    const SHOWN_LINES: usize = 20;
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    if shown.is_empty() {
        return Ok(());
    }
    write!(f, "\n  {what}:")?;
    shown
        .iter()
        .try_for_each(|line| write!(f, "\n    {}", Shown(line)))
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGTERM => "SIGTERM",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}
