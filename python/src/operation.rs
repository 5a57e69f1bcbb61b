//! One operation: a future of the Rust library, with its result as Python has it.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyAny, PyTuple};
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
///
/// It is a coroutine itself, by the methods of `collections.abc.Coroutine`, so that a
/// task can be made of it. An operation that is never awaited has done nothing, and
/// says nothing.
#[pyclass(frozen, module = "qemu_machine._native")]
pub(crate) struct Operation {
    work: Owned<Mutex<Option<Work>>>,
    /// What runs it in a task; none before its first step. It has the work, and no
    /// reference to this object.
    running: PyOnceLock<Py<PyAny>>,
}

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
        Self {
            work: Owned::new(Mutex::new(Some(work))),
            running: PyOnceLock::new(),
        }
    }

    /// The future, for the one caller that runs it.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Work> {
        self.give_up(py)?.ok_or_else(|| {
            PyRuntimeError::new_err("an operation can be awaited or waited for only once")
        })
    }

    /// The future, if nobody has taken it.
    fn give_up(&self, py: Python<'_>) -> PyResult<Option<Work>> {
        let work = self.work.get(py)?.lock();
        Ok(work.unwrap_or_else(PoisonError::into_inner).take())
    }

    /// What runs it in a task.
    fn running<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        let begin = || {
            let operation = Py::new(py, Self::of(self.take(py)?))?;
            PyResult::Ok(run(operation.bind(py))?.unbind())
        };
        Ok(self.running.get_or_try_init(py, begin)?.bind(py))
    }
}

/// A coroutine that runs an operation.
fn run<'py>(operation: &Bound<'py, Operation>) -> PyResult<Bound<'py, PyAny>> {
    operation
        .py()
        .import("qemu_machine._asyncio")?
        .call_method1("run", (operation,))
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
        run(slf)?.call_method0("__await__")
    }

    /// One step of a task.
    #[pyo3(signature = (value, /))]
    fn send<'py>(&self, py: Python<'py>, value: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.running(py)?.call_method1("send", (value,))
    }

    /// The step of a task that is cancelled.
    #[pyo3(signature = (*exception))]
    fn throw<'py>(
        &self,
        py: Python<'py>,
        exception: Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        self.running(py)?.call_method1("throw", exception)
    }

    /// Gives it up.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        if let Some(running) = self.running.get(py) {
            return running.call_method0(py, "close").map(drop);
        }
        // It may have a machine, whose drop waits.
        let work = self.give_up(py)?;
        py.detach(|| drop(work));
        Ok(())
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
