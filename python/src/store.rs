//! Templates on disk, for all processes of a user.

use std::ffi::OsString;
use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::UNIX_EPOCH;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use qemu_machine::error::TemplateError;
use qemu_machine::{Machine as Running, template};

use crate::launch;
use crate::limit::{Limit, limited};
use crate::operation::{Operation, Reply};
use crate::owned::Owned;
use crate::raise::Raise;
use crate::set_up::{self, Job, Outcome};
use crate::template::Template;

/// A store of templates.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct TemplateStore(template::TemplateStore);

/// A template that is being opened or made, step by step.
#[pyclass(frozen, module = "qemu_machine._native")]
pub(crate) struct Making(Owned<Arc<Mutex<Option<Parts>>>>);

struct Parts {
    work: Pin<Box<dyn Future<Output = Result<template::Template, TemplateError>> + Send>>,
    job: Arc<Mutex<Option<Job>>>,
}

#[pymethods]
impl Making {
    /// Goes on until there is a job for Python, which it returns, or the template.
    /// After the job, the next step must follow.
    fn step(&self, py: Python<'_>) -> PyResult<Operation> {
        let place = Arc::clone(self.0.get(py)?);
        Ok(Operation::of(Box::pin(async move {
            let Some(mut parts) = locked(&place).take() else {
                return Box::new(|_: Python<'_>| {
                    Err(PyRuntimeError::new_err("the template is made already"))
                }) as Reply;
            };
            match next(&mut parts).await {
                Step::Job(job) => {
                    *locked(&place) = Some(parts);
                    Box::new(move |py: Python<'_>| job.into_python(py))
                }
                Step::Made(Ok(made)) => {
                    Box::new(move |py: Python<'_>| Ok(Py::new(py, Template::new(made))?.into_any()))
                }
                Step::Made(Err(error)) => Box::new(move |py: Python<'_>| Err(error.raise(py))),
            }
        })))
    }
}

enum Step {
    Job(Job),
    Made(Result<template::Template, TemplateError>),
}

async fn next(parts: &mut Parts) -> Step {
    poll_fn(|context| {
        if let Poll::Ready(made) = parts.work.as_mut().poll(context) {
            return Poll::Ready(Step::Made(made));
        }
        // Only the work makes it.
        match locked(&parts.job).take() {
            Some(job) => Poll::Ready(Step::Job(job)),
            None => Poll::Pending,
        }
    })
    .await
}

/// Passes a machine on to Python, and waits until that is done.
async fn pass_on(place: Arc<Mutex<Option<Job>>>, vm: Running) -> Outcome {
    let (job, outcome) = Job::new(vm);
    *locked(&place) = Some(job);
    set_up::finish(outcome).await
}

fn locked<T>(place: &Mutex<T>) -> MutexGuard<'_, T> {
    place.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Making {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Making").finish_non_exhaustive()
    }
}

/// The key, the path, the size in bytes, the time of the last use, and whether a
/// process has it open.
type Stored = (String, String, u64, f64, bool);

#[pymethods]
impl TemplateStore {
    /// Opens the store in this directory, or that of the user.
    #[new]
    fn new(py: Python<'_>, path: Option<PathBuf>, limit_bytes: Option<u64>) -> PyResult<Self> {
        let opened = py.detach(|| match path {
            Some(path) => template::TemplateStore::at(path),
            None => template::TemplateStore::user(),
        });
        let store = opened.map_err(|error| error.raise(py))?;
        Ok(Self(match limit_bytes {
            Some(limit) => store.limit_bytes(limit),
            None => store,
        }))
    }

    #[getter]
    fn path(&self) -> String {
        self.0.path().to_string_lossy().into_owned()
    }

    /// Opens the template of this machine, or makes it.
    fn template(
        &self,
        binary: OsString,
        options: &Bound<'_, PyDict>,
        version: String,
        has_set_up: bool,
        timeout: Limit,
    ) -> PyResult<Making> {
        let (machine, _) = launch::describe(Running::builder(binary), options)?;
        let mut make = self.0.template(&machine).version(version);
        let job = Arc::default();
        if has_set_up {
            let job = Arc::clone(&job);
            make = make.set_up(move |vm| pass_on(job, vm));
        }
        let make = limited!(make, timeout).into_future();
        let work = Box::pin(make);
        Ok(Making(Owned::new(Arc::new(Mutex::new(Some(Parts {
            work,
            job,
        }))))))
    }

    /// Lists the templates, the one used last first.
    fn list(&self, py: Python<'_>) -> PyResult<Vec<Stored>> {
        let listed = py.detach(|| self.0.list());
        let listed = listed.map_err(|error| error.raise(py))?;
        let facts = |it: template::StoredTemplate| {
            let used = it.used.duration_since(UNIX_EPOCH).unwrap_or_default();
            let path = it.path.to_string_lossy().into_owned();
            (
                it.key,
                path,
                it.size_bytes,
                used.as_secs_f64(),
                it.is_in_use,
            )
        };
        Ok(listed.into_iter().map(facts).collect())
    }

    /// Removes a template, unless it is in use. Returns whether it is gone.
    fn remove(&self, py: Python<'_>, key: &str) -> PyResult<bool> {
        let removed = py.detach(|| self.0.remove(key));
        removed.map_err(|error| error.raise(py))
    }

    /// Removes those that were used least, until the rest takes this space.
    fn prune(&self, py: Python<'_>, limit_bytes: u64) -> PyResult<Vec<String>> {
        let removed = py.detach(|| self.0.prune(limit_bytes));
        removed.map_err(|error| error.raise(py))
    }
}
