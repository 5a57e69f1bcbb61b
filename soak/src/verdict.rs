//! Decides whether the library's report of a machine is right for its plan.
//! Pure.

use std::sync::Arc;

use qemu_machine::error::{LaunchError, LaunchFailure, ShutdownError};
use qemu_machine::life::{Rung, RungOutcome};
use qemu_machine::qmp::Disconnected;
use qemu_machine::{ExitCause, ExitReport};

use crate::peer::LAST_WORDS;
use crate::plan::{Ending, Fault, Haste, Left, Peer, Plan, Signal};

/// How the library reported the end of a machine.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) report: Arc<ExitReport>,
    pub(crate) forced: bool,
    pub(crate) failed: bool,
}

impl Told {
    /// # Errors
    /// The error, if it has no report because the machine has not ended.
    pub(crate) fn new(end: Result<Arc<ExitReport>, ShutdownError>) -> Result<Self, String> {
        let (forced, failed) = match &end {
            Ok(_) => (false, false),
            Err(ShutdownError::Forced(_)) => (true, false),
            Err(_) => (false, true),
        };
        let report = match end {
            Ok(report) => report,
            Err(error) => Arc::clone(error.report().ok_or_else(|| error.to_string())?),
        };
        Ok(Self {
            report,
            forced,
            failed,
        })
    }
}

/// Whether the launch of such a machine must fail with this error.
pub(crate) fn launch_failed_rightly(plan: &Plan, error: &LaunchError) -> bool {
    let status = error.report.as_ref().map(|report| report.status);
    let code = status.and_then(qemu_machine::ExitStatus::code);
    let signal = status.and_then(qemu_machine::ExitStatus::signal);
    match (plan.fault, &*error.failure) {
        (Fault::NoProgram { in_path: true }, LaunchFailure::NotFound { .. })
        | (Fault::NoProgram { in_path: false }, LaunchFailure::NotExecutable { .. }) => {
            status.is_none()
        }
        (Fault::ExitsAtLaunch { code: wanted }, LaunchFailure::Exited) => {
            let said = match plan.peer {
                Peer::Scripted => LAST_WORDS,
                Peer::Real { .. } => "unsupported machine type",
            };
            code == Some(i32::from(wanted)) && error.to_string().contains(said)
        }
        (Fault::DiesAtLaunch(wanted), LaunchFailure::Exited) => signal == Some(wanted.number()),
        (Fault::Garbage, LaunchFailure::NoMonitor(Disconnected::Protocol(_)))
        | (Fault::HalfGreeting | Fault::ClosesMonitorAtLaunch, LaunchFailure::NoMonitor(_)) => {
            signal == Some(Signal::Kill.number())
        }
        (Fault::NeverGreets { limit: wanted, .. }, LaunchFailure::Timeout { limit, .. }) => {
            *limit == wanted && error.elapsed >= wanted && signal == Some(Signal::Kill.number())
        }
        _ => false,
    }
}

/// Whether the report is right for a machine that its fault ended.
pub(crate) fn ended_rightly(plan: &Plan, told: &Told) -> bool {
    let report = &*told.report;
    let by_signal = |wanted: Signal| report.status.signal() == Some(wanted.number()) && told.failed;
    let by_code = |wanted: i32| {
        report.status.code() == Some(wanted) && told.failed == (wanted != 0) && !told.forced
    };
    let by_guest = |reason: &str| {
        report.cause == ExitCause::Guest
            && report.shutdown_reason.as_deref() == Some(reason)
            && by_code(0)
    };
    let right = match (plan.fault, plan.peer) {
        (Fault::Killed(Signal::Term), Peer::Real { .. }) => {
            report.cause == ExitCause::Outside && by_code(0)
        }
        (Fault::Killed(signal), _) => report.cause == ExitCause::Outside && by_signal(signal),
        (Fault::Exits { code }, _) => {
            report.cause == ExitCause::Outside && by_code(i32::from(code))
        }
        (Fault::GuestPoweroff, _) => by_guest("guest-shutdown"),
        (Fault::GuestReset | Fault::GuestTriplefault, _) => by_guest("guest-reset"),
        (Fault::GuestPanic, _) => by_guest("guest-panic") && report.guest_panicked,
        // The freeze ends it.
        (Fault::Frozen, _) => {
            return report.cause == ExitCause::Requested(Rung::Kill)
                && !told.failed
                && !told.forced
                && report.warnings.is_empty();
        }
        _ => false,
    };
    right && report.rungs.is_empty() && report.warnings.is_empty()
}

/// Whether the report is right for a machine that was ended in this way.
pub(crate) fn was_ended_rightly(plan: &Plan, ending: Ending, told: &Told) -> bool {
    let report = &*told.report;
    let (code, signal) = (report.status.code(), report.status.signal());
    let left = plan.fault.leaves();
    let right = match ending {
        Ending::Shutdown => {
            report.cause == ExitCause::Requested(Rung::Quit) && code == Some(0) && !told.forced
        }
        Ending::QuitCommand => report.cause == ExitCause::QuitCommand && code == Some(0),
        Ending::Kill => {
            report.cause == ExitCause::Requested(Rung::Kill)
                && signal == Some(Signal::Kill.number())
                && !told.forced
        }
        Ending::HastyShutdown(haste)
        | Ending::ShutdownGivenUp(haste)
        | Ending::TwoShutdowns(haste) => was_ended_hastily(left, haste, told),
        // Either may come first. A failure is the signal from outside.
        Ending::KilledMeanwhile(from_outside) => {
            !told.failed || signal == Some(from_outside.number())
        }
        // There is no report.
        Ending::Drop | Ending::DropInPanic => false,
    };
    right && report.warnings.is_empty() && (!told.failed || is_from_outside(ending))
}

/// Whether a real QEMU crashed while it exited, and the report is right. QEMU
/// 10.0 may crash if SIGTERM arrives during `quit`. That is no fault of ours.
pub(crate) fn crashed_on_its_way_out(plan: &Plan, told: &Told) -> bool {
    let report = &*told.report;
    let crashes = [Signal::Segv, Signal::Abrt].map(|signal| Some(signal.number()));
    matches!(plan.peer, Peer::Real { .. })
        && !matches!(plan.fault, Fault::Killed(_))
        && crashes.contains(&report.status.signal())
        && told.failed
        && report.cause == ExitCause::Outside
        && !report.rungs.is_empty()
        && report.warnings.is_empty()
}

fn is_from_outside(ending: Ending) -> bool {
    matches!(ending, Ending::KilledMeanwhile(_))
}

/// Each rung takes its time, or fails at once. The last one is the cause.
fn was_ended_hastily(left: Left, haste: Haste, told: &Told) -> bool {
    let report = &*told.report;
    let ExitCause::Requested(rung) = report.cause else {
        return false;
    };
    let in_time = report.rungs.iter().all(|report| {
        let limit = match report.rung {
            Rung::Quit => haste.quit,
            Rung::Terminate => haste.terminate,
            _ => return true,
        };
        report.outcome != RungOutcome::TimedOut || report.took >= limit
    });
    let by_rung = match rung {
        Rung::Quit => left == Left::Obedient,
        Rung::Terminate => left != Left::Stubborn,
        _ => told.forced,
    };
    in_time && by_rung
}
