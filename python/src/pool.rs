//! Clones that are kept ready.
//!
//! ```text
//! pool's task: clone -> queue of jobs -> a thread of Python: warm-up -> `Done` -> ready
//! ```
//!
//! The warm-ups run in threads of Python, because the engine's thread must not wait
//! for the interpreter's lock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use qemu_machine::{Machine as Running, template};
use qemu_qmp_engine::Watched;

use crate::limit::{Limit, limited};
use crate::machine::Machine;
use crate::operation::{Operation, Reply};
use crate::owned::Owned;
use crate::raise::Raise;
use crate::set_up::{self, Job, Outcome};

/// A pool that was started.
#[pyclass(frozen, module = "qemu_machine._native")]
pub(crate) struct Pool {
    /// `None` once it was closed.
    pool: Owned<Mutex<Option<Arc<template::Pool>>>>,
    jobs: Owned<Arc<Watched<Jobs>>>,
}

/// The clones that wait for their warm-up.
#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    is_closed: bool,
}

impl Pool {
    pub(crate) fn start(
        py: Python<'_>,
        mut builder: template::PoolBuilder,
        has_warm_up: bool,
    ) -> PyResult<Self> {
        let jobs = Arc::new(Watched::new(Jobs::default()));
        if has_warm_up {
            let jobs = Arc::clone(&jobs);
            builder = builder.warm_up(move |vm| queue(Arc::clone(&jobs), vm));
        }
        let pool = py.detach(|| builder.start());
        let pool = pool.map_err(|error| error.raise(py))?;
        Ok(Self {
            pool: Owned::new(Mutex::new(Some(Arc::new(pool)))),
            jobs: Owned::new(jobs),
        })
    }

    fn place(&self, py: Python<'_>) -> PyResult<MutexGuard<'_, Option<Arc<template::Pool>>>> {
        let place = self.pool.get(py)?.lock();
        Ok(place.unwrap_or_else(PoisonError::into_inner))
    }

    fn pool(&self, py: Python<'_>) -> PyResult<Arc<template::Pool>> {
        let pool = self.place(py)?.clone();
        pool.ok_or_else(|| PyRuntimeError::new_err("the pool is closed"))
    }
}

/// Queues a clone for its warm-up, and waits for the end of that.
async fn queue(jobs: Arc<Watched<Jobs>>, vm: Running) -> Outcome {
    let (job, outcome) = Job::new(vm);
    jobs.change(|jobs| {
        if !jobs.is_closed {
            jobs.waiting.push_back(job);
        }
    });
    set_up::finish(outcome).await
}

#[pymethods]
impl Pool {
    /// Takes a clone that is ready, or makes one.
    fn take(&self, py: Python<'_>, timeout: Limit) -> PyResult<Operation> {
        let take = self.pool(py)?.take();
        Ok(Operation::new(limited!(take, timeout), |py, vm| {
            Ok(Py::new(py, Machine::new(vm))?.into_any())
        }))
    }

    /// How many are ready.
    #[getter]
    fn ready(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(self.pool(py)?.ready())
    }

    /// Waits until it is full, or makes no more. Returns how many are ready.
    fn wait_until_filled(&self, py: Python<'_>) -> PyResult<Operation> {
        let pool = self.pool(py)?;
        Ok(Operation::of(Box::pin(async move {
            let ready = pool.wait_until_filled().await;
            Box::new(move |py: Python<'_>| Ok(ready.into_pyobject(py)?.into_any().unbind()))
                as Reply
        })))
    }

    /// The next clone to warm up, and what to call then. `None` after the end.
    fn next_job(&self, py: Python<'_>) -> PyResult<Operation> {
        let jobs = Arc::clone(self.jobs.get(py)?);
        Ok(Operation::of(Box::pin(async move {
            let job = next(&jobs).await;
            Box::new(move |py: Python<'_>| match job {
                Some(job) => job.into_python(py),
                None => Ok(py.None()),
            }) as Reply
        })))
    }

    /// Ends the clones that were not taken.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let (pool, jobs) = (self.place(py)?.take(), self.jobs.get(py)?);
        py.detach(|| end(jobs, pool));
        Ok(())
    }
}

async fn next(jobs: &Watched<Jobs>) -> Option<Job> {
    loop {
        let is_there = |jobs: &Jobs| (jobs.is_closed || !jobs.waiting.is_empty()).then_some(());
        jobs.until(is_there).await;
        let (job, is_closed) = jobs.change(|jobs| (jobs.waiting.pop_front(), jobs.is_closed));
        if job.is_some() || is_closed {
            return job;
        }
    }
}

/// Ends a pool, and the clones in it.
fn end(jobs: &Watched<Jobs>, pool: Option<Arc<template::Pool>>) {
    let waiting = jobs.change(|jobs| {
        jobs.is_closed = true;
        std::mem::take(&mut jobs.waiting)
    });
    drop(pool);
    drop(waiting);
}

impl Drop for Pool {
    fn drop(&mut self) {
        let (Some(pool), Some(jobs)) = (self.pool.take(), self.jobs.take()) else {
            return;
        };
        let pool = pool.into_inner().unwrap_or_else(PoisonError::into_inner);
        let _ = Python::try_attach(move |py| py.detach(move || end(&jobs, pool)));
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}
