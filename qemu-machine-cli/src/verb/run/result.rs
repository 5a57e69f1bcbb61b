//! How a run ended, as JSON for a script: what its status cannot say.

use std::fs;
use std::path::Path;

use qemu_machine::ExitReport;
use serde_json::{Value, json};

use super::ending::Ending;
use super::life::Lived;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::guest_command::CommandEnd;

/// Writes it to the file of `--result`.
pub(super) fn write(path: &Path, lived: &Lived, outcome: Outcome) -> Result<(), Failure> {
    let text = format!("{:#}\n", describe(lived, outcome));
    fs::write(path, text).map_err(|error| Failure::file("write", path, &error))
}

fn describe(lived: &Lived, outcome: Outcome) -> Value {
    let mut described = json!({
        "ended": lived.ending.name(),
        "status": outcome.status(),
        "message": lived.message,
        "command": lived.command.map(command),
        "qemu": lived.report.as_deref().map(qemu),
    });
    match lived.ending {
        Ending::Interrupted(signal) => described["signal"] = json!(signal),
        Ending::GuestExited(code) => described["guest_code"] = json!(code),
        _ => {}
    }
    described
}

fn command(end: CommandEnd) -> Value {
    match end {
        CommandEnd::Code(code) => json!({"status": code, "signal": null}),
        CommandEnd::Signal(signal) => json!({"status": null, "signal": signal}),
    }
}

fn qemu(report: &ExitReport) -> Value {
    json!({
        "status": report.status.code(),
        "signal": report.status.signal(),
        "cause": report.cause.to_string(),
        "forced": report.was_forced(),
        "shutdown_reason": report.shutdown_reason,
        "guest_panicked": report.guest_panicked,
        "uptime_seconds": report.uptime.as_secs_f64(),
        "log": report.log,
    })
}
