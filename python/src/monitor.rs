//! A QMP monitor: commands and events.

use std::net::ToSocketAddrs;
use std::path::PathBuf;

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use qemu_machine::qmp::Client;
use serde_json::value::RawValue;

use crate::events::Events;
use crate::json;
use crate::limit::{Limit, limited};
use crate::operation::Operation;
use crate::owned::Owned;

/// A connection to a monitor.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Monitor(Owned<Client>);

impl Monitor {
    pub(crate) fn new(client: Client) -> Self {
        Self(Owned::new(client))
    }
}

#[pymethods]
impl Monitor {
    #[pyo3(signature = (command, arguments, timeout, *, oob=false))]
    fn execute(
        &self,
        py: Python<'_>,
        command: &str,
        arguments: String,
        timeout: Limit,
        oob: bool,
    ) -> PyResult<Operation> {
        let client = self.0.get(py)?;
        let execute = client
            .execute_json(command, json::arguments(arguments)?)
            .returning::<Box<RawValue>>();
        let execute = limited!(execute, timeout);
        let execute = if oob { execute.out_of_band() } else { execute };
        Ok(Operation::new(execute, |py, returned| {
            json::object(py, returned.get())
        }))
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

/// Connects to the monitor of a QEMU that someone else started.
#[pyfunction]
pub(crate) fn connect(address: Address, timeout: Limit) -> PyResult<Operation> {
    let connect = match address {
        Address::Unix(path) => Client::connect_unix(path),
        Address::Tcp(host, port) => Client::connect_tcp(resolve(&host, port)?),
    };
    Ok(Operation::new(limited!(connect, timeout), |py, client| {
        Ok(Py::new(py, Monitor::new(client))?.into_any())
    }))
}

/// The address of a server.
#[derive(FromPyObject)]
pub(crate) enum Address {
    /// A host and a port.
    Tcp(String, u16),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// The address of a host. A name is looked up.
pub(crate) fn resolve(host: &str, port: u16) -> PyResult<std::net::SocketAddr> {
    let mut addresses = (host, port).to_socket_addrs()?;
    let none = || PyOSError::new_err(format!("'{host}' has no address"));
    addresses.next().ok_or_else(none)
}
