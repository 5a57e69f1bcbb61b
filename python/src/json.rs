//! JSON as Python's own module reads and writes it: members keep the order of the
//! wire, and integers of any size stay integers.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use serde_json::value::RawValue;

/// The object that a JSON text describes.
pub(crate) fn object(py: Python<'_>, json: &str) -> PyResult<Py<PyAny>> {
    let loads = LOADS.import(py, "json", "loads")?;
    Ok(loads.call1((json,))?.unbind())
}

/// The JSON text of a command's arguments. `None` stands for no arguments.
pub(crate) fn text(arguments: &Bound<'_, PyAny>) -> PyResult<Box<RawValue>> {
    let py = arguments.py();
    let encode = ENCODE.get_or_try_init(py, || {
        // `NaN` is no JSON.
        let options = PyDict::new(py);
        options.set_item("allow_nan", false)?;
        let encoder = py.import("json")?.getattr("JSONEncoder")?;
        let encoder = encoder.call((), Some(&options))?;
        encoder.getattr("encode").map(Bound::unbind)
    })?;
    let json: String = if arguments.is_none() {
        "{}".to_owned()
    } else {
        encode.bind(py).call1((arguments,))?.extract()?
    };
    RawValue::from_string(json)
        .map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))
}

static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
static ENCODE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
