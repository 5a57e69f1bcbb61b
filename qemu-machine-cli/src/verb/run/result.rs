//! How a run ended, as JSON for a script: what its status cannot say.

use std::fs;
use std::path::Path;

use qemu_machine::ExitReport;
use serde::Serialize;

use super::ending::Ending;
use super::life::Lived;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::guest_command::CommandEnd;
use crate::output;

/// How a run ended: the file of --result.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct RunResult {
    ended: Ended,
    /// The status of `qemu-machine`.
    status: u8,
    /// What standard error says; null if nothing failed.
    message: Option<String>,
    /// How the guest's last command ended; null if none ended.
    command: Option<CommandResult>,
    /// How QEMU ended; null if it was not launched, or still runs.
    qemu: Option<QemuResult>,
    /// With `--freeze-on-failure`: the template, if it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    frozen: Option<String>,
    /// With `interrupted`: the number of the signal.
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    /// With `guest-exited`: the guest's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    guest_code: Option<u8>,
}

/// What ended the run.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
enum Ended {
    /// All steps are done, or the person left the console.
    Done,
    /// The last command ended.
    #[serde(rename = "command-ended")]
    Command,
    /// A step failed for another reason than the other names say.
    StepFailed,
    GuestPoweredOff,
    GuestReset,
    /// The guest exited by a device.
    GuestExited,
    GuestPanicked,
    /// Somebody ended QEMU by its monitor.
    QemuQuit,
    /// QEMU crashed, or was killed.
    QemuDied,
    TimedOut,
    /// A signal came.
    Interrupted,
    /// Standard output cannot be written. Or the output of a command, a log or a
    /// transcript is not whole.
    OutputFailed,
    /// QEMU did not start, or did not answer.
    NotLaunched,
}

/// How a command of the guest's ended: one of the two is null.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CommandResult {
    status: Option<i64>,
    signal: Option<i64>,
}

/// How QEMU ended.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct QemuResult {
    /// Its exit status; null if a signal ended it.
    status: Option<i32>,
    /// The signal that ended it; null if it exited.
    signal: Option<i32>,
    /// Who or what asked for its end, for people.
    cause: String,
    /// Whether a signal of ours ended it, because nothing softer did.
    forced: bool,
    /// QEMU's reason for a shutdown of the guest, such as `guest-shutdown`.
    shutdown_reason: Option<String>,
    guest_panicked: bool,
    uptime_seconds: f64,
    /// The log of QEMU's own output, if it was kept.
    log: Option<String>,
}

/// Writes it to the file of `--result`.
pub(super) fn write(path: &Path, lived: &Lived, outcome: Outcome) -> Result<(), Failure> {
    let text = format!("{:#}\n", output::json(&describe(lived, outcome)));
    fs::write(path, text).map_err(|error| Failure::file("write", path, &error))
}

fn describe(lived: &Lived, outcome: Outcome) -> RunResult {
    RunResult {
        ended: lived.ending.into(),
        status: outcome.status(),
        message: lived.message.clone(),
        command: lived.command.map(CommandResult::from),
        qemu: lived.report.as_deref().map(QemuResult::from),
        frozen: lived
            .frozen
            .as_ref()
            .map(|it| it.to_string_lossy().into_owned()),
        signal: match lived.ending {
            Ending::Interrupted(signal) => Some(signal),
            _ => None,
        },
        guest_code: match lived.ending {
            Ending::GuestExited(code) => Some(code),
            _ => None,
        },
    }
}

impl From<Ending> for Ended {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done => Self::Done,
            Ending::Command(_) => Self::Command,
            Ending::StepFailed => Self::StepFailed,
            Ending::GuestPoweredOff => Self::GuestPoweredOff,
            Ending::GuestReset => Self::GuestReset,
            Ending::GuestExited(_) => Self::GuestExited,
            Ending::GuestPanicked => Self::GuestPanicked,
            Ending::QemuQuit => Self::QemuQuit,
            Ending::QemuDied(_) => Self::QemuDied,
            Ending::TimedOut => Self::TimedOut,
            Ending::Interrupted(_) => Self::Interrupted,
            Ending::OutputFailed { .. } => Self::OutputFailed,
            Ending::NotLaunched(_) => Self::NotLaunched,
        }
    }
}

impl From<CommandEnd> for CommandResult {
    fn from(end: CommandEnd) -> Self {
        let (status, signal) = match end {
            CommandEnd::Code(code) => (Some(code), None),
            CommandEnd::Signal(signal) => (None, Some(signal)),
        };
        Self { status, signal }
    }
}

impl From<&ExitReport> for QemuResult {
    fn from(report: &ExitReport) -> Self {
        Self {
            status: report.status.code(),
            signal: report.status.signal(),
            cause: report.cause.to_string(),
            forced: report.was_forced(),
            shutdown_reason: report.shutdown_reason.clone(),
            guest_panicked: report.guest_panicked,
            uptime_seconds: report.uptime.as_secs_f64(),
            log: report
                .log
                .as_ref()
                .map(|it| it.to_string_lossy().into_owned()),
        }
    }
}
