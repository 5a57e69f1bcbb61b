//! A machine's display: pictures of it, and waits for what it shows.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict};
use qemu_machine::ExitReport;
use qemu_machine::display::{Screenshot, Tolerance, WatchDisplay};
use qemu_machine::error::{DisplayError, ErrorKind};
use qemu_machine::qmp::error::ErrorReply;

use crate::limit::{Limit, duration, limited};
use crate::monitor::Monitor;
use crate::operation::Operation;
use crate::owned::Owned;
use crate::raise::Raise;

/// One display of a machine.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Display(Owned<qemu_machine::Display>);

impl Display {
    pub(crate) fn new(display: qemu_machine::Display) -> Self {
        Self(Owned::new(display))
    }
}

#[pymethods]
impl Display {
    /// The display of a QEMU that something else has launched.
    #[staticmethod]
    fn of(py: Python<'_>, monitor: &Monitor) -> PyResult<Self> {
        let display = qemu_machine::Display::of(monitor.client(py)?)?;
        Ok(Self::new(display))
    }

    /// The screen of one head of a device.
    fn head(&self, py: Python<'_>, device: &str, head: u32) -> PyResult<Self> {
        Ok(Self::new(self.0.get(py)?.head(device, head)))
    }

    fn screenshot(&self, py: Python<'_>, timeout: Limit) -> PyResult<Operation> {
        let take = self.0.get(py)?.screenshot();
        Ok(Operation::new(limited!(take, timeout), |py, picture| {
            to_python(py, &picture)
        }))
    }

    /// Waits until the screen looks like a picture.
    fn expect(
        &self,
        py: Python<'_>,
        picture: Picture,
        tolerance: Option<(u8, f64)>,
        pace: Option<f64>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let watch = self.0.get(py)?.expect(picture.0);
        watching(watch, tolerance, pace, timeout)
    }

    /// Waits until the screen has not changed for this time.
    fn still(
        &self,
        py: Python<'_>,
        seconds: f64,
        tolerance: Option<(u8, f64)>,
        pace: Option<f64>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let time = duration(seconds)?.unwrap_or(Duration::MAX);
        let watch = self.0.get(py)?.still(time);
        watching(watch, tolerance, pace, timeout)
    }

    /// Waits until the screen differs from its first picture.
    fn change(
        &self,
        py: Python<'_>,
        tolerance: Option<(u8, f64)>,
        pace: Option<f64>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let watch = self.0.get(py)?.change();
        watching(watch, tolerance, pace, timeout)
    }
}

fn watching(
    mut watch: WatchDisplay,
    tolerance: Option<(u8, f64)>,
    pace: Option<f64>,
    timeout: Limit,
) -> PyResult<Operation> {
    if let Some((channel, share)) = tolerance {
        watch = watch.tolerance(Tolerance { channel, share });
    }
    if let Some(seconds) = pace {
        watch = watch.pace(duration(seconds)?.unwrap_or(Duration::MAX));
    }
    Ok(Operation::new(limited!(watch, timeout), |py, picture| {
        to_python(py, &picture)
    }))
}

/// The picture in a `qemu_machine.Screenshot`.
pub(crate) struct Picture(Screenshot);

impl<'a, 'py> FromPyObject<'a, 'py> for Picture {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        let width = object.getattr("width")?.extract()?;
        let height = object.getattr("height")?.extract()?;
        let rgb = object.getattr("rgb")?.extract()?;
        let none = || PyValueError::new_err("the number of pixels does not match the size");
        let picture = Screenshot::from_rgb(width, height, rgb);
        picture.map(Self).ok_or_else(none)
    }
}

/// Reads a picture from the bytes of a PNG file.
#[pyfunction]
pub(crate) fn from_png(py: Python<'_>, png: Vec<u8>) -> PyResult<Py<PyAny>> {
    to_python(py, &py.detach(|| Screenshot::from_png(&png))?)
}

/// A picture as a PNG file.
#[pyfunction]
pub(crate) fn to_png(py: Python<'_>, picture: Picture) -> Py<PyBytes> {
    PyBytes::new(py, &py.detach(|| picture.0.to_png())).unbind()
}

/// The share of pixels that differ.
#[pyfunction]
pub(crate) fn difference(py: Python<'_>, one: Picture, other: Picture, channel: u8) -> f64 {
    py.detach(|| one.0.difference(&other.0, channel))
}

/// A `qemu_machine.Screenshot`.
fn to_python(py: Python<'_>, picture: &Screenshot) -> PyResult<Py<PyAny>> {
    let class = CLASS.import(py, "qemu_machine._display", "Screenshot")?;
    let rgb = PyBytes::new(py, picture.rgb());
    let fields = (picture.width(), picture.height(), rgb);
    Ok(class.call1(fields)?.unbind())
}

static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

impl Raise for DisplayError {
    const CLASS: &'static str = "DisplayError";
    const TIMEOUT: &'static str = "DisplayTimeout";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        match self {
            Self::Execute(error) => Raise::report(error),
            _ => None,
        }
    }

    fn refusal(&self) -> Option<(&str, &ErrorReply)> {
        match self {
            Self::Execute(error) => Raise::refusal(error),
            _ => None,
        }
    }

    fn describe(&self, details: &Bound<'_, PyDict>) -> PyResult<()> {
        match self {
            Self::Timeout { last, .. } | Self::GuestPaused { last, .. } => {
                let picture = last.as_ref().map(|last| to_python(details.py(), last));
                details.set_item("last", picture.transpose()?)
            }
            _ => Ok(()),
        }
    }
}
