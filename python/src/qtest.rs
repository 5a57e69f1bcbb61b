//! The qtest channel of a machine: memory, ports and the clock, without a guest.

use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use qemu_machine::ExitReport;
use qemu_machine::Qtest as Channel;
use qemu_machine::error::{ErrorKind, QtestError};
use qemu_machine::qtest::QtestEnd;

use crate::limit::{Limit, limited};
use crate::operation::Operation;
use crate::owned::Owned;
use crate::raise::Raise;

/// A handle to the channel.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Qtest(Owned<Channel>);

impl Qtest {
    pub(crate) fn new(channel: Channel) -> Self {
        Self(Owned::new(channel))
    }
}

#[pymethods]
impl Qtest {
    /// Sends a line, and returns the line of the reply.
    fn raw(&self, py: Python<'_>, line: &str, timeout: Limit) -> PyResult<Operation> {
        let raw = limited!(self.0.get(py)?.raw(line), timeout);
        Ok(Operation::new(raw, |py, reply: String| {
            Ok(reply.into_pyobject(py)?.into_any().unbind())
        }))
    }

    /// Reads memory.
    fn read(
        &self,
        py: Python<'_>,
        address: u64,
        length: usize,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let read = limited!(self.0.get(py)?.read(address, length), timeout);
        Ok(Operation::new(read, |py, data: Vec<u8>| {
            Ok(PyBytes::new(py, &data).into_any().unbind())
        }))
    }

    /// Writes memory.
    fn write(
        &self,
        py: Python<'_>,
        address: u64,
        data: &[u8],
        timeout: Limit,
    ) -> PyResult<Operation> {
        let write = limited!(self.0.get(py)?.write(address, data), timeout);
        Ok(Operation::new(write, |py, ()| Ok(py.None())))
    }

    /// Reads a port.
    fn read_port(
        &self,
        py: Python<'_>,
        port: u16,
        width: u8,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let channel = self.0.get(py)?;
        Ok(match width {
            1 => Operation::new(limited!(channel.inb(port), timeout), number),
            2 => Operation::new(limited!(channel.inw(port), timeout), number),
            4 => Operation::new(limited!(channel.inl(port), timeout), number),
            _ => return Err(wrong_width(width)),
        })
    }

    /// Writes a port.
    fn write_port(
        &self,
        py: Python<'_>,
        port: u16,
        value: u32,
        width: u8,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let channel = self.0.get(py)?;
        let too_large = || {
            let message = format!("{value} does not fit into {width} bytes");
            PyValueError::new_err(message)
        };
        let write = match width {
            1 => channel.outb(port, u8::try_from(value).map_err(|_| too_large())?),
            2 => channel.outw(port, u16::try_from(value).map_err(|_| too_large())?),
            4 => channel.outl(port, value),
            _ => return Err(wrong_width(width)),
        };
        Ok(Operation::new(limited!(write, timeout), |py, ()| {
            Ok(py.None())
        }))
    }

    /// Lets time pass for the devices: these nanoseconds, or until the next timer.
    /// Returns the time then.
    fn clock_step(
        &self,
        py: Python<'_>,
        nanoseconds: Option<u64>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let time = nanoseconds.map(Duration::from_nanos);
        let step = limited!(self.0.get(py)?.clock_step(time), timeout);
        Ok(Operation::new(step, |py, time: Duration| {
            Ok(time.as_nanos().into_pyobject(py)?.into_any().unbind())
        }))
    }
}

fn number<N: Into<u32>>(py: Python<'_>, value: N) -> PyResult<Py<PyAny>> {
    Ok(value.into().into_pyobject(py)?.into_any().unbind())
}

fn wrong_width(width: u8) -> PyErr {
    PyValueError::new_err(format!("a port has 1, 2 or 4 bytes, not {width}"))
}

impl Raise for QtestError {
    const CLASS: &'static str = "QtestError";
    const TIMEOUT: &'static str = "QtestTimeout";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        match self.ended()? {
            QtestEnd::MachineEnded(report) => Some(report),
            _ => None,
        }
    }
}
