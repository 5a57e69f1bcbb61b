//! Time limits, as Python passes them.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// The argument of a limit that was not given.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Default;

#[pymethods]
impl Default {
    #[new]
    fn new() -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "Python calls it on the object")]
    fn __repr__(&self) -> &'static str {
        "DEFAULT"
    }
}

/// A limit: the machine's default, seconds, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limit {
    /// As the machine has it.
    Default,
    /// This long; `None` is without end.
    Of(Option<Duration>),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Limit {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if object.is_none() {
            return Ok(Self::Of(None));
        }
        if object.is_instance_of::<Default>() {
            return Ok(Self::Default);
        }
        duration(object.extract()?).map(Self::Of)
    }
}

/// Seconds as a duration; `None` if it is infinite or longer than time.
pub(crate) fn duration(seconds: f64) -> PyResult<Option<Duration>> {
    if seconds.is_nan() || seconds < 0.0 {
        let message = format!("a time limit is a number of seconds from 0, not {seconds}");
        return Err(PyValueError::new_err(message));
    }
    Ok(Duration::try_from_secs_f64(seconds).ok())
}

/// Sets the limit of an operation, if there is one to set.
macro_rules! limited {
    ($operation:expr, $limit:expr) => {
        match $limit {
            $crate::limit::Limit::Default => $operation,
            $crate::limit::Limit::Of(limit) => $operation.timeout(limit),
        }
    };
}

pub(crate) use limited;
