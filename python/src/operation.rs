//! One operation: a future of the Rust library, with its result as Python has it.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyAny;
use qemu_machine::Wait;

use crate::at_exit::MakingResult;
use crate::owned::Owned;
use crate::raise::Raise;

/// The future of an operation. Its output contains no Python object, because it
/// may be dropped without the interpreter's lock.
pub(crate) type Work = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Makes the Python object of a result, or its exception.
pub(crate) type Reply = Box<dyn FnOnce(Python<'_>) -> PyResult<Py<PyAny>> + Send>;

/// An operation that has not begun. `wait()` blocks until its end; a coroutine
/// awaits it. Either can be done once.
#[pyclass(frozen, module = "qemu_machine._native")]
pub(crate) struct Operation(Owned<Mutex<Option<Work>>>);

impl Operation {
    /// An operation of the library. `give` makes the object that Python gets.
    pub(crate) fn new<F, T, E>(
        future: F,
        give: impl FnOnce(Python<'_>, T) -> PyResult<Py<PyAny>> + Send + 'static,
    ) -> Self
    where
        F: IntoFuture<Output = Result<T, E>>,
        F::IntoFuture: Send + 'static,
        T: Send + 'static,
        E: Raise + Send + 'static,
    {
        let future = future.into_future();
        Self::of(Box::pin(async move {
            match future.await {
                Ok(value) => Box::new(move |py: Python<'_>| give(py, value)) as Reply,
                Err(error) => Box::new(move |py: Python<'_>| Err(error.raise(py))),
            }
        }))
    }

    pub(crate) fn of(work: Work) -> Self {
        Self(Owned::new(Mutex::new(Some(work))))
    }

    /// The future, for the one caller that runs it.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Work> {
        let mut work = self
            .0
            .get(py)?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        work.take().ok_or_else(|| {
            PyRuntimeError::new_err("an operation can be awaited or waited for only once")
        })
    }
}

#[pymethods]
impl Operation {
    /// Blocks until the end. A signal's handler that raises interrupts it.
    fn wait(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let work = self.take(py)?;
        let (reply, _making) = py.detach(|| {
            let reply = work.wait_with(check_signals)?;
            PyResult::Ok((reply, MakingResult::begin()))
        })?;
        reply(py)
    }

    /// Blocks until the end, whatever signals arrive.
    fn wait_uninterrupted(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let work = self.take(py)?;
        let (reply, _making) = py.detach(|| (work.wait(), MakingResult::begin()));
        reply(py)
    }

    fn __await__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let coroutine = slf
            .py()
            .import("qemu_machine._asyncio")?
            .call_method1("run", (slf,))?;
        coroutine.call_method0("__await__")
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").finish_non_exhaustive()
    }
}

/// Runs the handlers of signals that have arrived. Only the main thread of Python
/// has handlers; elsewhere it does nothing.
///
/// Python cannot notify a waiting thread of a signal: a signal may reach any
/// thread. So the wait calls this at least every 50 ms.
fn check_signals() -> PyResult<()> {
    // `None` at the end of the interpreter, when no handler runs any more.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the method alone is not general enough"
    )]
    Python::try_attach(|py| py.check_signals()).unwrap_or(Ok(()))
}
