//! Descriptors that Python passes: a number, or an object with `fileno()`.
//!
//! Never takes the descriptor of Python itself: it duplicates it. So each side
//! closes its own.

use std::os::fd::{FromRawFd, OwnedFd};
use std::path::PathBuf;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBool;
use qemu_machine::qmp::client::PassedFd;

/// A duplicate of a descriptor of Python.
#[derive(Debug)]
pub(crate) struct Descriptor(pub(crate) OwnedFd);

impl<'a, 'py> FromPyObject<'a, 'py> for Descriptor {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let py = object.py();
        // `True` is a number for Python.
        let is_number = !object.is_instance_of::<PyBool>() && object.extract::<i32>().is_ok();
        let number = if is_number {
            object.to_owned()
        } else if object.hasattr("fileno")? {
            object.call_method0("fileno")?
        } else {
            let message = "a descriptor is a number, or an object with fileno()";
            return Err(PyTypeError::new_err(message));
        };
        // It fails for a number that is not open.
        let duplicate = DUP.import(py, "os", "dup")?.call1((number,))?.extract()?;
        // SAFETY: `os.dup` has made this descriptor, and nothing else knows it.
        #[expect(unsafe_code, reason = "Python has numbers instead of descriptors")]
        let owned = unsafe { OwnedFd::from_raw_fd(duplicate) };
        Ok(Self(owned))
    }
}

/// What to pass to QEMU: a descriptor, or a path to open for reading.
#[derive(Debug)]
pub(crate) enum Passed {
    Path(PathBuf),
    Descriptor(Descriptor),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Passed {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        match object.extract() {
            Ok(path) => Ok(Self::Path(path)),
            Err(_) => object.extract().map(Self::Descriptor),
        }
    }
}

impl From<Passed> for PassedFd {
    fn from(passed: Passed) -> Self {
        match passed {
            Passed::Path(path) => path.into(),
            Passed::Descriptor(descriptor) => descriptor.0.into(),
        }
    }
}

static DUP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
