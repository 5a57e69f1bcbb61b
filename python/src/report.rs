//! The report of a machine's end, as Python has it.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};
use qemu_machine::life::{Rung, RungOutcome};
use qemu_machine::{ExitCause, ExitReport, ExitStatus};

/// A `qemu_machine.ExitReport`.
pub(crate) fn to_python(py: Python<'_>, report: &ExitReport) -> PyResult<Py<PyAny>> {
    let class = class(py)?;
    let fields = PyDict::new(py);
    let (signal, core_dumped) = match report.status {
        ExitStatus::Signal {
            signal,
            core_dumped,
        } => (Some(signal), core_dumped),
        _ => (None, false),
    };
    fields.set_item("name", &report.name)?;
    fields.set_item("pid", report.pid)?;
    fields.set_item("code", report.status.code())?;
    fields.set_item("signal", signal)?;
    fields.set_item("core_dumped", core_dumped)?;
    fields.set_item("cause", cause(&report.cause))?;
    let rungs = report.rungs.iter();
    let rungs: Vec<_> = rungs
        .map(|it| (rung(it.rung), outcome(&it.outcome), it.took.as_secs_f64()))
        .collect();
    fields.set_item("rungs", rungs)?;
    let guest_exit = report.guest_exit.as_ref();
    fields.set_item("guest_exit_code", guest_exit.map(|it| it.code))?;
    fields.set_item("shutdown_reason", report.shutdown_reason.as_deref())?;
    fields.set_item("guest_panicked", report.guest_panicked)?;
    fields.set_item("uptime", report.uptime.as_secs_f64())?;
    fields.set_item("output", text(py, &report.output_tail))?;
    fields.set_item("console", text(py, &report.console_tail))?;
    fields.set_item(
        "log",
        report.log.as_deref().map(|path| path.to_string_lossy()),
    )?;
    let survivors = report.survivors.iter().map(ToString::to_string);
    fields.set_item("survivors", survivors.collect::<Vec<_>>())?;
    fields.set_item("warnings", &report.warnings)?;
    fields.set_item("is_failure", report.is_failure())?;
    fields.set_item("was_forced", report.was_forced())?;
    fields.set_item("text", report.to_string())?;
    Ok(class.call((), Some(&fields))?.unbind())
}

/// The class of reports. It stays usable at the end of the interpreter, when nothing
/// can be imported.
pub(crate) fn class(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    CLASS.import(py, "qemu_machine._report", "ExitReport")
}

/// Bytes of a guest or of QEMU as text. What is not UTF-8 is replaced.
pub(crate) fn text<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    PyString::new(py, &String::from_utf8_lossy(bytes))
}

fn cause(cause: &ExitCause) -> &'static str {
    match cause {
        ExitCause::Requested(by) => rung(*by),
        ExitCause::QuitCommand => "quit-command",
        ExitCause::Guest => "guest",
        _ => "outside",
    }
}

fn rung(rung: Rung) -> &'static str {
    match rung {
        Rung::Guest => "guest",
        Rung::Powerdown => "powerdown",
        Rung::Quit => "quit",
        Rung::Terminate => "terminate",
        _ => "kill",
    }
}

fn outcome(outcome: &RungOutcome) -> String {
    match outcome {
        RungOutcome::Ended => "ended".to_owned(),
        RungOutcome::TimedOut => "timed-out".to_owned(),
        RungOutcome::GuestPaused => "guest-paused".to_owned(),
        RungOutcome::Overtaken => "overtaken".to_owned(),
        RungOutcome::Failed(why) => format!("failed: {why}"),
        _ => "unknown".to_owned(),
    }
}

static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
