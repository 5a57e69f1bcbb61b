//! A QMP monitor: commands and events.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple};
use qemu_machine::qmp::Client;
use qemu_machine::qmp::client::ExecuteJson;
use serde_json::value::RawValue;

use crate::descriptor::{Descriptor, Passed};
use crate::events::Events;
use crate::json;
use crate::limit::{Limit, limited};
use crate::operation::Operation;
use crate::owned::Owned;
use crate::raise;

/// A connection to a monitor.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Monitor(Owned<Client>);

impl Monitor {
    pub(crate) fn new(client: Client) -> Self {
        Self(Owned::new(client))
    }

    pub(crate) fn client(&self, py: Python<'_>) -> PyResult<&Client> {
        self.0.get(py)
    }
}

#[pymethods]
impl Monitor {
    /// Executes a command, and passes descriptors with it.
    #[pyo3(signature = (command, arguments, timeout, *, oob=false, fds=Vec::new()))]
    fn execute(
        &self,
        py: Python<'_>,
        command: &str,
        arguments: String,
        timeout: Limit,
        oob: bool,
        fds: Vec<Passed>,
    ) -> PyResult<Operation> {
        let client = self.0.get(py)?;
        let execute = client
            .execute_json(command, json::arguments(arguments)?)
            .returning::<Box<RawValue>>();
        let execute = limited!(execute, timeout);
        let execute = if oob { execute.out_of_band() } else { execute };
        let pass = |execute: ExecuteJson<Box<RawValue>>, fd| execute.pass(fd);
        Ok(returning(fds.into_iter().fold(execute, pass)))
    }

    /// Passes a descriptor, which QEMU keeps under a name.
    fn getfd(&self, py: Python<'_>, name: &str, fd: Passed, timeout: Limit) -> PyResult<Operation> {
        let pass = self.0.get(py)?.getfd(name, fd);
        Ok(Operation::new(limited!(pass, timeout), |py, _| {
            Ok(py.None())
        }))
    }

    /// Passes a descriptor into a set.
    fn add_fd(&self, py: Python<'_>, set: u32, fd: Passed, timeout: Limit) -> PyResult<Operation> {
        let pass = self.0.get(py)?.add_fd(set, fd).returning();
        Ok(returning(limited!(pass, timeout)))
    }

    /// Subscribes to these events, or to all of them.
    fn events(&self, py: Python<'_>, names: Vec<String>) -> PyResult<Events> {
        let client = self.0.get(py)?;
        Ok(Events::new(if names.is_empty() {
            client.events()
        } else {
            client.events_named(names)
        }))
    }

    /// The version of QEMU in the greeting.
    fn version(&self, py: Python<'_>) -> PyResult<Option<(u32, u32, u32)>> {
        let greeting = self.0.get(py)?.greeting();
        let version = greeting.and_then(|greeting| greeting.version.as_ref());
        Ok(version.map(|it| (it.major, it.minor, it.micro)))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.0.get(py)?.close();
        Ok(())
    }
}

/// An operation with what QEMU returns.
fn returning(execute: ExecuteJson<Box<RawValue>>) -> Operation {
    Operation::new(execute, |py, returned| json::object(py, returned.get()))
}

/// Connects to the monitor of a QEMU that someone else started.
#[pyfunction]
pub(crate) fn connect(py: Python<'_>, address: Address, timeout: Limit) -> PyResult<Operation> {
    let connect = match address {
        Address::Unix(path) => Client::connect_unix(path),
        Address::Tcp(host, port) => Client::connect_tcp(reach(py, &host, port)?),
        Address::Connected(socket) => Client::over(socket.0),
    };
    Ok(Operation::new(limited!(connect, timeout), |py, client| {
        Ok(Py::new(py, Monitor::new(client))?.into_any())
    }))
}

/// The address of a server.
pub(crate) enum Address {
    /// A host and a port.
    Tcp(String, u16),
    /// The path of a unix socket.
    Unix(PathBuf),
    /// A socket that is connected already.
    Connected(Descriptor),
}

impl<'a, 'py> FromPyObject<'a, 'py> for Address {
    type Error = PyErr;

    fn extract(object: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if object.is_instance_of::<PyTuple>() {
            let (host, port): (String, i64) = object.extract().map_err(|_| not_an_address())?;
            let port = u16::try_from(port).map_err(|_| {
                PyValueError::new_err(format!("a port is a number from 0 to 65535, not {port}"))
            })?;
            return Ok(Self::Tcp(host, port));
        }
        let is_number = object.extract::<i32>().is_ok();
        if object.is_instance_of::<PyBytes>() || !(is_number || is_path_or_file(object)?) {
            return Err(not_an_address());
        }
        match object.extract() {
            Ok(path) => Ok(Self::Unix(path)),
            Err(_) => object.extract().map(Self::Connected),
        }
    }
}

/// Whether it is a path, or has a descriptor.
fn is_path_or_file(object: Borrowed<'_, '_, PyAny>) -> PyResult<bool> {
    Ok(object.is_instance_of::<PyString>()
        || object.hasattr("__fspath__")?
        || object.hasattr("fileno")?)
}

fn not_an_address() -> PyErr {
    PyTypeError::new_err(
        "an address is the path of a unix socket, a tuple of a host and a port, or a connected \
         socket or its descriptor",
    )
}

/// The address of a server.
pub(crate) fn reach(py: Python<'_>, host: &str, port: u16) -> PyResult<SocketAddr> {
    resolve(py, host, port).map_err(|error| {
        let message = format!("cannot connect to {host}:{port}: {error}");
        raise::exception(py, "ConnectError", message, |details| {
            details.set_item("kind", "not-found")
        })
    })
}

/// The address of a host. A name is looked up.
pub(crate) fn resolve(py: Python<'_>, host: &str, port: u16) -> io::Result<SocketAddr> {
    let found = py.detach(|| (host, port).to_socket_addrs().map(|mut found| found.next()));
    found?.ok_or_else(|| io::Error::other(format!("'{host}' has no address")))
}
