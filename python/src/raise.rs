//! Errors of the library as Python exceptions.
//!
//! One rule for all: an end of the machine, a passed deadline and a refusal have
//! the same classes, whatever the operation was. Everything else has the class of
//! the operation. The text is always that of the library.

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyModule, PyType};
use qemu_machine::ExitReport;
use qemu_machine::error::{
    AgentError, BestAccelError, ConnectError, ErrorKind, EventError, ExecuteError, ExitError,
    ExpectError, ExpectFailure, LaunchError, SendError, ShellError, ShellFailure, ShutdownError,
};
use qemu_machine::qmp::Disconnected;
use qemu_machine::qmp::error::{ErrorClass, ErrorReply};
use qemu_machine::spec::CommandLine;

use crate::{launched, report};

/// An error that Python can raise.
pub(crate) trait Raise: std::error::Error + Sized {
    /// The class of the operation's own failures.
    const CLASS: &'static str;
    /// The class of a passed deadline.
    const TIMEOUT: &'static str = "Timeout";

    fn kind(&self) -> ErrorKind;

    /// The report of the machine whose end is the reason.
    fn report(&self) -> Option<&ExitReport> {
        None
    }

    /// The other side's refusal, and the command.
    fn refusal(&self) -> Option<(&str, &ErrorReply)> {
        None
    }

    /// Whether the guest panicked, and QEMU goes on.
    fn has_panicked(&self) -> bool {
        false
    }

    /// Attributes of the exception beside the usual ones.
    fn describe(&self, _details: &Bound<'_, PyDict>) -> PyResult<()> {
        Ok(())
    }

    /// The name of the exception's class.
    fn class(&self) -> &'static str {
        class_of_end(self.report(), self.has_panicked()).unwrap_or(match self.kind() {
            ErrorKind::Timeout => Self::TIMEOUT,
            ErrorKind::Ended => "MachineEnded",
            ErrorKind::Lagged => "EventsLost",
            _ if self.refusal().is_some() => "CommandError",
            _ => Self::CLASS,
        })
    }

    /// The exception.
    fn raise(self, py: Python<'_>) -> PyErr {
        described(&self, py)
    }
}

/// The exception of an error, with everything that the error knows.
pub(crate) fn described(error: &impl Raise, py: Python<'_>) -> PyErr {
    exception(py, error.class(), error.to_string(), |details| {
        details.set_item("kind", kind_name(error.kind()))?;
        if let Some(report) = error.report() {
            launched::tell(py, report);
            details.set_item("report", report::to_python(py, report)?)?;
        }
        if let Some((command, reply)) = error.refusal() {
            details.set_item("command", command)?;
            details.set_item("class_", class_name(&reply.class))?;
            details.set_item("desc", &reply.desc)?;
        }
        error.describe(details)
    })
}

/// An exception of `qemu_machine` with these details as its attributes.
pub(crate) fn exception(
    py: Python<'_>,
    class: &str,
    message: String,
    describe: impl FnOnce(&Bound<'_, PyDict>) -> PyResult<()>,
) -> PyErr {
    let make = || {
        let details = PyDict::new(py);
        describe(&details)?;
        let class = classes(py)?.getattr(class)?;
        let class = class.cast_into::<PyType>()?;
        class.call((message,), Some(&details))
    };
    match make() {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => {
            let wrong = PyRuntimeError::new_err("an exception of qemu_machine cannot be made");
            wrong.set_cause(py, Some(error));
            wrong
        }
    }
}

/// The module of the exceptions. It stays usable at the end of the interpreter, when
/// nothing can be imported.
pub(crate) fn classes(py: Python<'_>) -> PyResult<&Bound<'_, PyModule>> {
    let import = || PyResult::Ok(py.import("qemu_machine._errors")?.unbind());
    Ok(ERRORS.get_or_try_init(py, import)?.bind(py))
}

static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();

/// The class of an error that a machine's end or a guest's panic causes.
fn class_of_end(report: Option<&ExitReport>, has_panicked: bool) -> Option<&'static str> {
    let crashed = |report: &ExitReport| report.guest_panicked || report.is_failure();
    match report {
        _ if has_panicked => Some("GuestCrashed"),
        Some(report) if crashed(report) => Some("GuestCrashed"),
        Some(_) => Some("MachineEnded"),
        None => None,
    }
}

fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Timeout => "timeout",
        ErrorKind::Ended => "ended",
        ErrorKind::Refused => "refused",
        ErrorKind::InvalidInput => "invalid-input",
        ErrorKind::Protocol => "protocol",
        ErrorKind::Unsupported => "unsupported",
        ErrorKind::NotFound => "not-found",
        ErrorKind::PermissionDenied => "permission-denied",
        ErrorKind::Congested => "congested",
        ErrorKind::Lagged => "lagged",
        ErrorKind::Guest => "guest",
        ErrorKind::Unclean => "unclean",
        _ => "system",
    }
}

/// The class's name on the wire.
fn class_name(class: &ErrorClass) -> String {
    match class {
        ErrorClass::Other(name) => name.clone(),
        // The variants have the names of the wire.
        known => format!("{known:?}"),
    }
}

/// The report in the reason for which a connection ended.
fn report_in(cause: &Disconnected) -> Option<&ExitReport> {
    match cause {
        Disconnected::ServerEnded(cause) => cause.downcast_ref(),
        _ => None,
    }
}

impl Raise for LaunchError {
    const CLASS: &'static str = "LaunchError";
    const TIMEOUT: &'static str = "LaunchTimeout";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        self.report.as_deref()
    }

    /// Never that of a machine's end: the machine has not begun.
    fn class(&self) -> &'static str {
        match self.kind() {
            ErrorKind::Timeout => Self::TIMEOUT,
            _ => Self::CLASS,
        }
    }

    fn describe(&self, details: &Bound<'_, PyDict>) -> PyResult<()> {
        let words = self.command_line.as_ref().map(CommandLine::words);
        details.set_item("argv", words)?;
        details.set_item("advice", self.advice())
    }
}

impl Raise for ConnectError {
    const CLASS: &'static str = "ConnectError";
    const TIMEOUT: &'static str = "ConnectTimeout";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn class(&self) -> &'static str {
        match self.kind() {
            ErrorKind::Timeout => Self::TIMEOUT,
            _ => Self::CLASS,
        }
    }
}

impl Raise for ExecuteError {
    const CLASS: &'static str = "MonitorError";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        self.disconnected().and_then(report_in)
    }

    fn refusal(&self) -> Option<(&str, &ErrorReply)> {
        Some((&self.command, self.reply()?))
    }
}

impl Raise for EventError {
    const CLASS: &'static str = "MonitorError";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        match self {
            Self::Ended { cause, .. } => report_in(cause),
            _ => None,
        }
    }

    fn describe(&self, details: &Bound<'_, PyDict>) -> PyResult<()> {
        match self {
            Self::Lagged { missed, .. } => details.set_item("missed", missed),
            _ => Ok(()),
        }
    }
}

impl Raise for AgentError {
    const CLASS: &'static str = "AgentError";
    const TIMEOUT: &'static str = "AgentTimeout";

    fn kind(&self) -> ErrorKind {
        match self.disconnected() {
            // Nothing has ended: the machine was launched without a port for an agent.
            Some(cause @ Disconnected::ServerEnded(_)) if report_in(cause).is_none() => {
                ErrorKind::Unsupported
            }
            _ => self.kind(),
        }
    }

    fn report(&self) -> Option<&ExitReport> {
        self.disconnected().and_then(report_in)
    }

    fn refusal(&self) -> Option<(&str, &ErrorReply)> {
        Some((&self.command, self.reply()?))
    }

    fn has_panicked(&self) -> bool {
        matches!(
            *self.failure,
            qemu_machine::error::AgentFailure::GuestPanicked
        )
    }
}

impl Raise for ExpectError {
    const CLASS: &'static str = "ExpectError";
    const TIMEOUT: &'static str = "ExpectTimeout";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        report_of_console(&self.failure)
    }

    fn has_panicked(&self) -> bool {
        matches!(*self.failure, ExpectFailure::GuestPanicked)
    }

    fn describe(&self, details: &Bound<'_, PyDict>) -> PyResult<()> {
        details.set_item("console", report::text(details.py(), &self.seen))?;
        details.set_item("waited", self.waited.as_secs_f64())
    }
}

impl Raise for SendError {
    const CLASS: &'static str = "ConsoleError";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        report_of_send(self)
    }
}

impl Raise for ShellError {
    const CLASS: &'static str = "ShellError";
    const TIMEOUT: &'static str = "ShellTimeout";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        match &*self.failure {
            ShellFailure::Console(failure) => report_of_console(failure),
            ShellFailure::NotSent(error) => report_of_send(error),
            _ => None,
        }
    }

    fn has_panicked(&self) -> bool {
        matches!(
            *self.failure,
            ShellFailure::Console(ExpectFailure::GuestPanicked)
        )
    }

    fn describe(&self, details: &Bound<'_, PyDict>) -> PyResult<()> {
        details.set_item("console", report::text(details.py(), &self.seen))?;
        details.set_item("waited", self.waited.as_secs_f64())
    }
}

impl Raise for BestAccelError {
    const CLASS: &'static str = "AccelError";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }
}

impl Raise for ExitError {
    const CLASS: &'static str = "MachineEnded";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn has_panicked(&self) -> bool {
        matches!(self, Self::GuestPanicked { .. })
    }
}

impl Raise for ShutdownError {
    const CLASS: &'static str = "ShutdownError";

    fn kind(&self) -> ErrorKind {
        self.kind()
    }

    fn report(&self) -> Option<&ExitReport> {
        self.report().map(|report| &**report)
    }

    fn class(&self) -> &'static str {
        match self {
            Self::Failed(_) => "GuestCrashed",
            _ => Self::CLASS,
        }
    }
}

fn report_of_console(failure: &ExpectFailure) -> Option<&ExitReport> {
    match failure {
        ExpectFailure::MachineEnded(report) => Some(report),
        _ => None,
    }
}

fn report_of_send(error: &SendError) -> Option<&ExitReport> {
    match error {
        SendError::MachineEnded { report, .. } => Some(report),
        _ => None,
    }
}
