//! The shell on a console.

use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::limit::{Limit, limited};
use crate::operation::Operation;
use crate::owned::Owned;

/// A shell that runs one command at a time.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Shell(Owned<Mutex<qemu_machine::Shell>>);

impl Shell {
    pub(crate) fn new(shell: qemu_machine::Shell) -> Self {
        Self(Owned::new(Mutex::new(shell)))
    }

    /// The shell. The lock is held only while an operation is made.
    fn shell(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, qemu_machine::Shell>> {
        let shell = self.0.get(py)?.lock();
        Ok(shell.unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl Shell {
    /// Runs a script.
    fn run(&self, py: Python<'_>, script: &str, timeout: Limit) -> PyResult<Operation> {
        let run = self.shell(py)?.run(script);
        Ok(Operation::new(limited!(run, timeout), |py, done| {
            let class = OUTPUT.import(py, "qemu_machine._console", "ShellOutput")?;
            let output = (done.status, done.output, done.dropped_bytes);
            let (status, bytes, dropped) = output;
            let bytes = pyo3::types::PyBytes::new(py, &bytes);
            Ok(class.call1((status, bytes, dropped))?.unbind())
        }))
    }

    /// Makes the shell usable again after a wait that was given up.
    fn recover(&self, py: Python<'_>, timeout: Limit) -> PyResult<Operation> {
        let recover = self.shell(py)?.recover();
        Ok(Operation::new(limited!(recover, timeout), |py, ()| {
            Ok(py.None())
        }))
    }
}

static OUTPUT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
