//! JSON as Python's own module reads it: members keep the order of the wire, and
//! integers of any size stay integers. Python writes it too, in `_json.py`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use serde_json::value::RawValue;

/// The object that a JSON text describes.
pub(crate) fn object(py: Python<'_>, json: &str) -> PyResult<Py<PyAny>> {
    let loads = LOADS.import(py, "json", "loads")?;
    Ok(loads.call1((json,))?.unbind())
}

/// The arguments of a command.
pub(crate) fn arguments(json: String) -> PyResult<Box<RawValue>> {
    RawValue::from_string(json).map_err(|error| PyValueError::new_err(error.to_string()))
}

static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
