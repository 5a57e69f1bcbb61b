//! The picture on a machine's display.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;
use qemu_machine::display::Screenshot;

/// A `qemu_machine.Screenshot`.
pub(crate) fn to_python(py: Python<'_>, picture: &Screenshot) -> PyResult<Py<PyAny>> {
    let class = CLASS.import(py, "qemu_machine._screenshot", "Screenshot")?;
    let rgb = PyBytes::new(py, picture.rgb());
    let png = PyBytes::new(py, &py.detach(|| picture.to_png()));
    let fields = (picture.width(), picture.height(), rgb, png);
    Ok(class.call1(fields)?.unbind())
}

static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
