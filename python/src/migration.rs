//! Guests that move to another machine, or to a file and back.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use qemu_machine::ExitReport;
use qemu_machine::error::{ErrorKind, MigrationError, MoveError};
use qemu_machine::qmp::client::MigrationReport;
use qemu_machine::qmp::error::ErrorReply;

use crate::raise::Raise;

/// A `qemu_machine.MigrationReport`.
pub(crate) fn to_python(py: Python<'_>, report: MigrationReport) -> PyResult<Py<PyAny>> {
    let class = CLASS.import(py, "qemu_machine._migration", "MigrationReport")?;
    let seconds = |time: Option<Duration>| time.map(|it| it.as_secs_f64());
    let fields = (
        report.states,
        seconds(report.total_time),
        seconds(report.downtime),
        report.transferred_bytes,
    );
    Ok(class.call1(fields)?.unbind())
}

static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

impl Raise for MoveError {
    const CLASS: &'static str = "MoveError";
    const TIMEOUT: &'static str = "MoveTimeout";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        match self {
            Self::Migration(MigrationError::Execute(cause)) => Raise::report(cause),
            Self::Migration(MigrationError::Events(cause)) => Raise::report(cause),
            _ => None,
        }
    }

    fn refusal(&self) -> Option<(&str, &ErrorReply)> {
        match self {
            Self::Migration(MigrationError::Execute(cause)) => Raise::refusal(cause),
            _ => None,
        }
    }
}
