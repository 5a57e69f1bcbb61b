//! Python's part in the making of a guest: its set-up or warm-up.
//!
//! ```text
//! Rust: a machine that was launched -> Python: does its work -> `Done` -> Rust goes on
//! ```
//!
//! Never calls Python itself: Python takes the job as the result of an operation, so
//! none of its code runs below a Rust function.

use std::error::Error;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use qemu_machine::Machine as Running;
use qemu_qmp_engine::oneshot;

use crate::machine::Machine;
use crate::owned::Owned;

/// The result of a set-up.
pub(crate) type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

/// Python calls it when the set-up has ended.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Done(Owned<Mutex<Option<oneshot::Sender<PyResult<()>>>>>);

impl Done {
    pub(crate) fn new(sender: oneshot::Sender<PyResult<()>>) -> Self {
        Self(Owned::new(Mutex::new(Some(sender))))
    }
}

#[pymethods]
impl Done {
    /// Passes on how it ended: the exception, or `None`.
    fn __call__(&self, py: Python<'_>, error: Option<Bound<'_, PyAny>>) -> PyResult<()> {
        let sender = self.0.get(py)?.lock();
        let sender = sender.unwrap_or_else(PoisonError::into_inner).take();
        let sender = sender.ok_or_else(|| PyRuntimeError::new_err("it was done already"))?;
        let outcome = error.map_or(Ok(()), |error| Err(PyErr::from_value(error)));
        // An error: nothing waits for the outcome any more.
        let _ = sender.send(outcome);
        Ok(())
    }
}

/// A machine for Python's work, and where its outcome goes.
#[derive(Debug)]
pub(crate) struct Job(Running, oneshot::Sender<PyResult<()>>);

impl Job {
    /// A job, and its outcome for [`finish`].
    pub(crate) fn new(vm: Running) -> (Self, oneshot::Receiver<PyResult<()>>) {
        let (sender, outcome) = oneshot::channel();
        (Self(vm, sender), outcome)
    }

    /// A tuple of the machine and of [`Done`].
    pub(crate) fn into_python(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let vm = Py::new(py, Machine::new(self.0))?;
        let done = Py::new(py, Done::new(self.1))?;
        Ok(PyTuple::new(py, [vm.into_any(), done.into_any()])?
            .into_any()
            .unbind())
    }
}

/// Waits until Python is done.
pub(crate) async fn finish(outcome: oneshot::Receiver<PyResult<()>>) -> Outcome {
    let given_up = |_| Err(PyRuntimeError::new_err("the set-up was given up"));
    Ok(outcome.await.unwrap_or_else(given_up)?)
}
