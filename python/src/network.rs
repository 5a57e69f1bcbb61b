//! The user-mode network of a machine, and its forwarded ports.

use std::ffi::OsString;

use pyo3::prelude::*;
use qemu_machine::ExitReport;
use qemu_machine::error::{ErrorKind, ForwardError};
use qemu_machine::qmp::error::ErrorReply;
use qemu_machine::spec;

use crate::monitor::resolve;
use crate::raise::Raise;

/// A network card on QEMU's user-mode network. Each method returns a new one.
#[pyclass(frozen, from_py_object, module = "qemu_machine._native")]
#[derive(Debug, Clone)]
pub(crate) struct UserNet(pub(crate) spec::UserNet);

#[pymethods]
impl UserNet {
    #[new]
    fn new(id: &str) -> Self {
        Self(spec::UserNet::new(id))
    }

    fn model(&self, model: &str) -> Self {
        Self(self.0.clone().model(model))
    }

    fn forward_tcp(&self, py: Python<'_>, host: (String, u16), guest_port: u16) -> PyResult<Self> {
        let address = resolve(py, &host.0, host.1)?;
        Ok(Self(self.0.clone().forward_tcp(address, guest_port)))
    }

    fn restrict(&self) -> Self {
        Self(self.0.clone().restrict())
    }

    fn set(&self, key: &str, value: OsString) -> Self {
        Self(self.0.clone().set(key, value))
    }
}

/// One network, or several.
#[derive(FromPyObject)]
pub(crate) enum UserNets {
    One(UserNet),
    Several(Vec<UserNet>),
}

impl UserNets {
    pub(crate) fn into_specs(self) -> impl Iterator<Item = spec::UserNet> {
        let networks = match self {
            Self::One(network) => vec![network],
            Self::Several(networks) => networks,
        };
        networks.into_iter().map(|network| network.0)
    }
}

impl Raise for ForwardError {
    const CLASS: &'static str = "ForwardError";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        match self {
            Self::Execute(cause) => Raise::report(cause),
            _ => None,
        }
    }

    fn refusal(&self) -> Option<(&str, &ErrorReply)> {
        match self {
            Self::Execute(cause) => Raise::refusal(cause),
            _ => None,
        }
    }
}
