//! Templates on disk, for all processes of a user.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use qemu_machine::{Machine as Running, template};

use crate::launch;
use crate::limit::{Limit, limited};
use crate::operation::Operation;
use crate::raise::Raise;
use crate::set_up;
use crate::template::Template;

/// A store of templates.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct TemplateStore(template::TemplateStore);

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

    /// Opens the template of this machine, or makes it. Then it calls
    /// `start(machine, done)`, in the thread that waits.
    #[pyo3(signature = (binary, options, version, start, timeout))]
    fn template(
        &self,
        binary: OsString,
        options: &Bound<'_, PyDict>,
        version: String,
        start: Option<Py<PyAny>>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let (machine, _) = launch::describe(Running::builder(binary), options)?;
        let mut make = self.0.template(&machine).version(version);
        if let Some(start) = start {
            make = make.set_up(move |vm| set_up::run(start, vm));
        }
        Ok(Operation::new(limited!(make, timeout), |py, opened| {
            Ok(Py::new(py, Template::new(opened))?.into_any())
        }))
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
