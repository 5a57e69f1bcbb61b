//! How a machine ended.

use crate::life::Survivor;
use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use qemu_qmp_engine::error_text::Shown;

use crate::life::{GuestExit, Rung, RungOutcome, RungReport};

/// Everything that is known about the end of a machine. All waiters get the
/// same report.
#[derive(Clone)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct ExitReport {
    /// The machine's name.
    pub name: String,
    /// The process id of QEMU. After the end, another process can have it.
    pub pid: u32,
    /// The exit status of QEMU, or of its wrapper.
    pub status: ExitStatus,
    /// Who caused the end.
    pub cause: ExitCause,
    /// The device by which the guest ended the machine, and its code. `None` if
    /// the guest did not, or if its device has no code, such as the power-off
    /// of a PC. Such a code is never a failure of QEMU.
    pub guest_exit: Option<GuestExit>,
    /// The rungs that were tried, in order; empty if nobody asked this process
    /// to end the machine.
    pub rungs: Vec<RungReport>,
    /// The reason in the `SHUTDOWN` event of QEMU, such as `guest-shutdown` or
    /// `host-signal`; `None` if there was no event.
    pub shutdown_reason: Option<String>,
    /// Whether the kernel of the guest reported a panic (`GUEST_PANICKED`).
    pub guest_panicked: bool,
    /// The time from the start of the process to its end.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
    pub uptime: Duration,
    /// The last 64 KiB of the output of QEMU itself.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::text"))]
    pub output_tail: Vec<u8>,
    /// The last 4 KiB of the first console; empty if it was undrained.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::text"))]
    pub console_tail: Vec<u8>,
    /// The same for each added console, with its name.
    #[cfg_attr(
        feature = "serde",
        serde(serialize_with = "crate::serialize::named_texts")
    )]
    pub named_console_tails: Vec<(String, Vec<u8>)>,
    /// The log of the output of QEMU; `None` if it was private, and is removed.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::path"))]
    pub log: Option<PathBuf>,
    /// The processes that still ran when the started process had ended, such as
    /// a QEMU that a wrapper left behind. A process that was killed together
    /// with the started one is not listed.
    pub survivors: Vec<Survivor>,
    /// What went wrong at the end: a log that is incomplete, a file that could
    /// not be removed, a process that could not be ended.
    pub warnings: Vec<String>,
}

/// The exit status of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// It was killed by a signal.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether it left a core dump.
        core_dumped: bool,
    },
    /// It has ended, but other code in this program took its status.
    Unknown,
}

/// Who caused the end of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum ExitCause {
    /// A caller of this library, with the rung that ended the machine.
    Requested(Rung),
    /// The command `quit`, sent on a monitor by someone else.
    QuitCommand,
    /// The guest: it powered off, or exited by a device
    /// ([`ExitReport::guest_exit`]). Or it reset or panicked, and QEMU was
    /// started with the option to exit then.
    Guest,
    /// None of these: a failure of QEMU, or a signal from outside.
    Outside,
}

impl ExitStatus {
    /// The exit code; `None` for a signal or an unknown status.
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The number of the signal; `None` for an exit code or an unknown status.
    pub fn signal(self) -> Option<i32> {
        match self {
            Self::Signal { signal, .. } => Some(signal),
            _ => None,
        }
    }
}

impl ExitReport {
    /// Whether the softer rungs failed, so the machine was killed. Data that
    /// was not yet written to its disks is lost.
    pub fn was_forced(&self) -> bool {
        let softer_failed = self.rungs.iter().any(|report| {
            matches!(
                report.outcome,
                RungOutcome::TimedOut | RungOutcome::Failed(_)
            )
        });
        self.cause == ExitCause::Requested(Rung::Kill) && softer_failed
    }

    /// Whether QEMU failed: it was killed by a signal, or exited with a code
    /// other than 0, and neither a caller nor the guest asked for it. A code of
    /// the [guest](Self::guest_exit) is no failure.
    pub fn is_failure(&self) -> bool {
        // `-action panic=exit-failure` makes QEMU exit with 1.
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
        self.write(f, "")
    }
}

impl ExitStatus {
    /// Writes it with an adverb, such as ` unexpectedly`, after the verb.
    fn write(self, f: &mut fmt::Formatter<'_>, adverb: &str) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exited{adverb} with code {code}"),
            Self::Signal {
                signal,
                core_dumped,
            } => {
                write!(f, "was killed{adverb} by signal {signal}")?;
                if let Some(name) = signal_name(signal) {
                    write!(f, " ({name})")?;
                }
                if core_dumped {
                    f.write_str(", core dumped")
                } else {
                    Ok(())
                }
            }
            Self::Unknown => write!(
                f,
                "ended{adverb} with an unknown status: other code in this program reaped it"
            ),
        }
    }
}

impl fmt::Display for ExitCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested(rung) => write!(f, "as requested, by {rung}"),
            Self::QuitCommand => f.write_str("by the command 'quit'"),
            Self::Guest => f.write_str("by the guest"),
            Self::Outside => f.write_str("unexpectedly"),
        }
    }
}

impl fmt::Display for ExitReport {
    /// One line of facts, then the last output of QEMU and the consoles.
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
                "machine '{name}' ended after {uptime:.1?}: {exit} (exit status {code})"
            )?;
            if *cause != ExitCause::Guest {
                write!(f, ", {cause}")?;
            }
        } else if *cause == ExitCause::Outside {
            write!(f, "machine '{name}' ")?;
            status.write(f, " unexpectedly")?;
            write!(f, " after {uptime:.1?}")?;
        } else {
            write!(f, "machine '{name}' {status} after {uptime:.1?}, {cause}")?;
        }
        if let Some(reason) = &self.shutdown_reason {
            write!(f, " ({reason})")?;
        }
        if self.guest_panicked {
            f.write_str("; the guest panicked")?;
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

/// The last output of QEMU and of the consoles, in separate lines after a
/// message; nothing for an empty one.
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

/// Writes the last lines of some output, if there is any.
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
