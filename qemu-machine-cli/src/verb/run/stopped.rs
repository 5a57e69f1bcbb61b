//! Why a run ended before its steps were done: maps each error of the library to
//! an ending.

use std::io;

use qemu_machine::ExitReport;
use qemu_machine::error::{
    AgentError, AgentFailure, ErrorKind, ExitError, ExpectError, ExpectFailure, InteractError,
    InteractFailure, LaunchError, SendError, ShellError, ShellFailure,
};

use super::ending::{Ending, NotLaunched, Progress};
use crate::advice::in_our_words;
use crate::attention::Call;
use crate::exit::Outcome;
use crate::failure::Failure;

/// Why a run ended before its steps were done.
pub(super) struct Stopped {
    pub(super) ending: Ending,
    pub(super) message: Option<String>,
}

/// What a call means.
pub(super) fn interrupted(call: Call) -> Stopped {
    match call {
        Call::Signal(number) => Stopped::quietly(Ending::Interrupted(number)),
        Call::Output(kind, text) => {
            let is_closed = kind == io::ErrorKind::BrokenPipe;
            Stopped {
                ending: Ending::OutputFailed { is_closed },
                message: (!is_closed).then_some(text),
            }
        }
        // A machine is no file system.
        Call::Unmounted => Stopped::quietly(Ending::Done),
    }
}

impl Stopped {
    pub(super) fn quietly(ending: Ending) -> Self {
        Self {
            ending,
            message: None,
        }
    }

    /// The machine ended by itself, as expected.
    pub(super) fn by_end(report: &ExitReport) -> Self {
        let ending = Ending::of(report);
        let is_failure = ending.outcome(Progress::AllDone) != Outcome::Succeeded;
        Self {
            ending,
            message: is_failure.then(|| report.to_string()),
        }
    }

    /// The agent failed. If there is a report, the machine has ended.
    pub(super) fn of_agent(error: &AgentError, report: Option<&ExitReport>) -> Self {
        let message = Some(error.to_string());
        let ending = match (&*error.failure, report) {
            (AgentFailure::Interrupted { .. }, Some(report)) => Ending::of(report),
            (AgentFailure::GuestPanicked, _) => Ending::GuestPanicked,
            (AgentFailure::GuestShutDown, _) => Ending::GuestPoweredOff,
            _ if error.kind() == ErrorKind::Timeout => Ending::TimedOut,
            _ => Ending::StepFailed,
        };
        Self { ending, message }
    }

    fn of_console(failure: &ExpectFailure, message: String) -> Self {
        let ending = match failure {
            ExpectFailure::MachineEnded(report) => Ending::of(report),
            ExpectFailure::GuestPanicked => Ending::GuestPanicked,
            ExpectFailure::GuestShutDown { .. } => Ending::GuestPoweredOff,
            ExpectFailure::Timeout { .. } => Ending::TimedOut,
            _ => Ending::StepFailed,
        };
        Self {
            ending,
            message: Some(message),
        }
    }
}

impl From<Failure> for Stopped {
    /// Of standard output.
    fn from(failure: Failure) -> Self {
        let is_closed = failure.outcome == Outcome::OUTPUT_CLOSED;
        Self {
            ending: Ending::OutputFailed { is_closed },
            message: failure.message,
        }
    }
}

impl From<LaunchError> for Stopped {
    fn from(error: LaunchError) -> Self {
        Self {
            ending: Ending::NotLaunched(NotLaunched::of(&error)),
            message: Some(in_our_words(error)),
        }
    }
}

impl From<ExpectError> for Stopped {
    fn from(error: ExpectError) -> Self {
        Self::of_console(&error.failure, error.to_string())
    }
}

impl From<SendError> for Stopped {
    fn from(error: SendError) -> Self {
        let ending = match &error {
            SendError::MachineEnded { report, .. } => Ending::of(report),
            SendError::Timeout { .. } | SendError::Congested { .. } => Ending::TimedOut,
            _ => Ending::StepFailed,
        };
        Self {
            ending,
            message: Some(error.to_string()),
        }
    }
}

impl From<ShellError> for Stopped {
    fn from(error: ShellError) -> Self {
        let message = in_our_words(&error);
        match *error.failure {
            ShellFailure::Console(failure) => Self::of_console(&failure, message),
            ShellFailure::NotSent(cause) => Self {
                message: Some(message),
                ..cause.into()
            },
            failure => {
                let ending = match failure {
                    ShellFailure::Timeout { .. } => Ending::TimedOut,
                    ShellFailure::GuestReset => Ending::GuestReset,
                    _ => Ending::StepFailed,
                };
                let message = Some(message);
                Self { ending, message }
            }
        }
    }
}

impl From<ExitError> for Stopped {
    fn from(error: ExitError) -> Self {
        let ending = match &error {
            ExitError::GuestPanicked { .. } => Ending::GuestPanicked,
            ExitError::GuestShutDown { .. } => return Self::quietly(Ending::GuestPoweredOff),
            _ => Ending::TimedOut,
        };
        Self {
            ending,
            message: Some(error.to_string()),
        }
    }
}

impl From<InteractError> for Stopped {
    fn from(error: InteractError) -> Self {
        let ending = match &*error.failure {
            InteractFailure::Timeout { .. } => Ending::TimedOut,
            InteractFailure::Terminal { cause, .. }
                if cause.kind() == io::ErrorKind::BrokenPipe =>
            {
                return Self::quietly(Ending::OutputFailed { is_closed: true });
            }
            _ => Ending::StepFailed,
        };
        Self {
            ending,
            message: Some(error.to_string()),
        }
    }
}
