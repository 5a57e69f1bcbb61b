//! The guest agent.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;
use qemu_machine::GuestAgent;
use serde_json::value::RawValue;

use crate::json;
use crate::limit::{Limit, limited};
use crate::monitor::{Address, reach};
use crate::operation::Operation;
use crate::owned::Owned;

/// A connection to a guest agent.
#[pyclass(frozen, module = "qemu_machine._native")]
#[derive(Debug)]
pub(crate) struct Agent(Owned<GuestAgent>);

impl Agent {
    pub(crate) fn new(agent: GuestAgent) -> Self {
        Self(Owned::new(agent))
    }
}

#[pymethods]
impl Agent {
    fn ping(&self, py: Python<'_>, timeout: Limit) -> PyResult<Operation> {
        let ping = self.0.get(py)?.ping();
        Ok(Operation::new(limited!(ping, timeout), |py, _| {
            Ok(py.None())
        }))
    }

    fn wait_until_ready(&self, py: Python<'_>, timeout: Limit) -> PyResult<Operation> {
        let ready = self.0.get(py)?.wait_until_ready();
        Ok(Operation::new(limited!(ready, timeout), |py, ()| {
            Ok(py.None())
        }))
    }

    fn execute(
        &self,
        py: Python<'_>,
        command: &str,
        arguments: String,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let agent = self.0.get(py)?;
        let execute = agent
            .execute_json(command, json::arguments(arguments)?)
            .returning::<Box<RawValue>>();
        Ok(Operation::new(
            limited!(execute, timeout),
            |py, returned| json::object(py, returned.get()),
        ))
    }

    /// Runs a program, and waits for its end.
    fn exec(
        &self,
        py: Python<'_>,
        program: String,
        arguments: Vec<String>,
        environment: Vec<(String, String)>,
        input: Option<Vec<u8>>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let mut exec = self.0.get(py)?.exec(program).args(arguments);
        for (key, value) in environment {
            exec = exec.env(&key, &value);
        }
        if let Some(input) = input {
            exec = exec.input(input);
        }
        Ok(Operation::new(limited!(exec, timeout), |py, done| {
            let class = OUTPUT.import(py, "qemu_machine._agent", "ExecOutput")?;
            let stdout = PyBytes::new(py, &done.stdout);
            let stderr = PyBytes::new(py, &done.stderr);
            let fields = (done.code, done.signal, stdout, stderr);
            Ok(class.call1(fields)?.unbind())
        }))
    }

    fn read_file(&self, py: Python<'_>, path: String, timeout: Limit) -> PyResult<Operation> {
        let read = self.0.get(py)?.read_file(path);
        Ok(Operation::new(limited!(read, timeout), |py, bytes| {
            Ok(PyBytes::new(py, bytes.as_ref()).into_any().unbind())
        }))
    }

    fn write_file(
        &self,
        py: Python<'_>,
        path: String,
        content: Vec<u8>,
        timeout: Limit,
    ) -> PyResult<Operation> {
        let write = self.0.get(py)?.write_file(path, content);
        Ok(Operation::new(limited!(write, timeout), |py, ()| {
            Ok(py.None())
        }))
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.0.get(py)?.close();
        Ok(())
    }
}

/// Connects to the guest agent of a QEMU that someone else started.
#[pyfunction]
pub(crate) fn connect_agent(
    py: Python<'_>,
    address: Address,
    timeout: Limit,
) -> PyResult<Operation> {
    let connect = match address {
        Address::Unix(path) => GuestAgent::connect_unix(path),
        Address::Tcp(host, port) => GuestAgent::connect_tcp(reach(py, &host, port)?),
        Address::Connected(socket) => GuestAgent::over(socket.0),
    };
    Ok(Operation::new(limited!(connect, timeout), |py, agent| {
        Ok(Py::new(py, Agent::new(agent))?.into_any())
    }))
}

static OUTPUT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
