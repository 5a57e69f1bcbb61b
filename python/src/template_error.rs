//! The errors of templates as Python exceptions.

use pyo3::prelude::*;
use qemu_machine::ExitReport;
use qemu_machine::error::{ErrorKind, TemplateError, WakeError, WakeFailure};

use crate::raise::{Raise, described};

impl Raise for TemplateError {
    const CLASS: &'static str = "TemplateError";
    const TIMEOUT: &'static str = "TemplateTimeout";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    /// A failed launch or set-up is raised as it is: it has more to say.
    fn raise(self, py: Python<'_>) -> PyErr {
        match &self {
            Self::Launch(cause) => cause.clone().raise(py),
            Self::Shutdown(cause) => cause.clone().raise(py),
            Self::SetUp(cause) => match cause.downcast_ref::<PyErr>() {
                Some(raised) => raised.clone_ref(py),
                None => described(&self, py),
            },
            _ => described(&self, py),
        }
    }
}

impl Raise for WakeError {
    const CLASS: &'static str = "WakeError";
    const TIMEOUT: &'static str = "WakeTimeout";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        match &*self.failure {
            WakeFailure::Agent(cause) => Raise::report(cause),
            WakeFailure::Shell(cause) => Raise::report(cause),
            _ => None,
        }
    }

    fn has_panicked(&self) -> bool {
        match &*self.failure {
            WakeFailure::Agent(cause) => cause.has_panicked(),
            WakeFailure::Shell(cause) => cause.has_panicked(),
            _ => false,
        }
    }
}
