//! How a run ended, and which outcome that is. Pure.

use std::io;

use qemu_machine::error::{LaunchError, LaunchFailure};
use qemu_machine::{ExitCause, ExitReport, ExitStatus};

use crate::exit::Outcome;
use crate::guest_command::CommandEnd;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// Every step was done, and the machine was ended; or the person left.
    Done,
    /// The guest's last command ended in this way.
    Command(CommandEnd),
    /// A step failed, and the machine lived on.
    StepFailed,
    GuestPoweredOff,
    /// The guest was reset, and QEMU ended at that or a shell was lost by it.
    GuestReset,
    /// The guest ended the machine by a device, with this code.
    GuestExited(u8),
    GuestPanicked,
    /// Somebody else ended QEMU by its monitor.
    QemuQuit,
    /// QEMU ended, but neither the guest nor this program asked for it.
    QemuDied(ExitStatus),
    TimedOut,
    /// This signal came.
    Interrupted(i32),
    /// Standard output cannot be written: nobody reads it, or something else.
    OutputFailed {
        is_closed: bool,
    },
    NotLaunched(NotLaunched),
}

/// Why a machine was not launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotLaunched {
    NotFound,
    NotExecutable,
    TimedOut,
    Failed,
}

impl NotLaunched {
    pub(super) fn of(error: &LaunchError) -> Self {
        let is_missing = |cause: &io::Error| cause.kind() == io::ErrorKind::NotFound;
        match &*error.failure {
            LaunchFailure::NotFound { .. } => Self::NotFound,
            LaunchFailure::NotExecutable { cause, .. } if is_missing(cause) => Self::NotFound,
            LaunchFailure::NotExecutable { .. } => Self::NotExecutable,
            LaunchFailure::Timeout { .. } => Self::TimedOut,
            _ => Self::Failed,
        }
    }
}

impl Ending {
    /// How a machine ended, by its report.
    pub(super) fn of(report: &ExitReport) -> Self {
        if report.guest_panicked {
            return Self::GuestPanicked;
        }
        if let Some(exit) = &report.guest_exit {
            return Self::GuestExited(exit.code);
        }
        match report.cause {
            _ if report.is_failure() => Self::QemuDied(report.status),
            ExitCause::QuitCommand => Self::QemuQuit,
            ExitCause::Guest => Self::of_guest(report.shutdown_reason.as_deref()),
            ExitCause::Requested(_) => Self::Done,
            // After a SIGTERM from outside, QEMU exits with 0.
            _ => Self::QemuDied(report.status),
        }
    }

    fn of_guest(reason: Option<&str>) -> Self {
        match reason {
            Some("guest-reset") => Self::GuestReset,
            Some("guest-panic") => Self::GuestPanicked,
            _ => Self::GuestPoweredOff,
        }
    }

    /// The outcome of a run. If commands are left, a low status would look like
    /// the command's own. So whatever stopped the command is
    /// [`Outcome::Broken`].
    pub(super) fn outcome(self, progress: Progress) -> Outcome {
        let early = match progress {
            Progress::AllDone => None,
            Progress::StepsLeft => Some(Outcome::Failed),
            Progress::CommandsLeft => Some(Outcome::Broken),
        };
        match self {
            Self::Done => Outcome::Succeeded,
            Self::Command(end) => end.outcome(),
            Self::TimedOut | Self::NotLaunched(NotLaunched::TimedOut) => Outcome::TimedOut,
            Self::Interrupted(number) => Outcome::Signal(number),
            Self::OutputFailed { is_closed: true } => Outcome::OUTPUT_CLOSED,
            Self::OutputFailed { is_closed: false } => Outcome::Broken,
            Self::NotLaunched(NotLaunched::NotFound) => Outcome::NotFound,
            Self::NotLaunched(NotLaunched::NotExecutable) => Outcome::NotExecutable,
            Self::GuestPoweredOff | Self::GuestReset | Self::QemuQuit => {
                early.unwrap_or(Outcome::Succeeded)
            }
            Self::GuestExited(code) => early.unwrap_or(Outcome::Exit(code.into())),
            Self::QemuDied(ExitStatus::Signal { signal, .. })
                if progress != Progress::CommandsLeft =>
            {
                Outcome::Signal(signal)
            }
            Self::StepFailed
            | Self::GuestPanicked
            | Self::QemuDied(_)
            | Self::NotLaunched(NotLaunched::Failed) => early.unwrap_or(Outcome::Failed),
        }
    }
}

/// How far the run was when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    AllDone,
    StepsLeft,
    /// There are commands among the steps that are left.
    CommandsLeft,
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: ExitStatus = ExitStatus::Signal {
        signal: 9,
        core_dumped: false,
    };

    #[test]
    fn an_ending_has_a_status_by_how_far_the_run_had_come() {
        // All done, steps left, commands left.
        let table = [
            (Ending::Done, [0, 0, 0]),
            (Ending::Command(CommandEnd::Code(0)), [0, 0, 0]),
            (Ending::Command(CommandEnd::Code(3)), [3, 3, 3]),
            (Ending::Command(CommandEnd::Signal(9)), [137, 137, 137]),
            (Ending::StepFailed, [1, 1, 125]),
            (Ending::GuestPoweredOff, [0, 1, 125]),
            (Ending::GuestReset, [0, 1, 125]),
            (Ending::QemuQuit, [0, 1, 125]),
            (Ending::GuestExited(0), [0, 1, 125]),
            (Ending::GuestExited(7), [7, 1, 125]),
            (Ending::GuestPanicked, [1, 1, 125]),
            (Ending::QemuDied(ExitStatus::Code(1)), [1, 1, 125]),
            (Ending::QemuDied(KILLED), [137, 137, 125]),
            (Ending::TimedOut, [124, 124, 124]),
            (Ending::Interrupted(2), [130, 130, 130]),
            (Ending::OutputFailed { is_closed: true }, [141, 141, 141]),
            (Ending::OutputFailed { is_closed: false }, [125, 125, 125]),
            (Ending::NotLaunched(NotLaunched::NotFound), [127, 127, 127]),
            (
                Ending::NotLaunched(NotLaunched::NotExecutable),
                [126, 126, 126],
            ),
            (Ending::NotLaunched(NotLaunched::TimedOut), [124, 124, 124]),
            (Ending::NotLaunched(NotLaunched::Failed), [1, 1, 125]),
        ];
        let progress = [
            Progress::AllDone,
            Progress::StepsLeft,
            Progress::CommandsLeft,
        ];
        for (ending, statuses) in table {
            let found = progress.map(|it| ending.outcome(it).status());
            assert_eq!(found, statuses, "{ending:?}");
        }
    }
}
