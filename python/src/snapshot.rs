//! Snapshots of a guest with its memory and its disks.

use std::time::UNIX_EPOCH;

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use qemu_machine::ExitReport;
use qemu_machine::error::{ErrorKind, JobFailure, SnapshotError, SnapshotFailure};
use qemu_machine::machine::Snapshot;
use qemu_machine::qmp::error::ErrorReply;

use crate::raise::Raise;

/// A `qemu_machine.Snapshot`.
pub(crate) fn to_python(py: Python<'_>, snapshot: Snapshot) -> PyResult<Py<PyAny>> {
    let class = CLASS.import(py, "qemu_machine._migration", "Snapshot")?;
    let taken = snapshot.taken.duration_since(UNIX_EPOCH);
    let fields = (
        snapshot.name,
        snapshot.memory_bytes,
        taken.map_or(0.0, |time| time.as_secs_f64()),
        snapshot.guest_clock.as_secs_f64(),
        snapshot.disks,
    );
    Ok(class.call1(fields)?.unbind())
}

static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

impl Raise for SnapshotError {
    const CLASS: &'static str = "SnapshotError";
    const TIMEOUT: &'static str = "SnapshotTimeout";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        match &*self.failure {
            SnapshotFailure::Execute(cause) => Raise::report(cause),
            SnapshotFailure::Job(job) => match &*job.failure {
                JobFailure::Execute(cause) => Raise::report(cause),
                JobFailure::Events(cause) => Raise::report(cause),
                _ => None,
            },
            _ => None,
        }
    }

    fn refusal(&self) -> Option<(&str, &ErrorReply)> {
        match &*self.failure {
            SnapshotFailure::Execute(cause) => Raise::refusal(cause),
            SnapshotFailure::Job(job) => match &*job.failure {
                JobFailure::Execute(cause) => Raise::refusal(cause),
                _ => None,
            },
            _ => None,
        }
    }
}
