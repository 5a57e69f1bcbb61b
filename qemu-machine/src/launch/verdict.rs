//! Decides whether a launch failed, and why.
//!
//! Never fails a launch because the guest ended the machine: then the guest
//! ran.

use qemu_qmp::Disconnected;

use super::LaunchFailure;
use crate::life::{ExitCause, ExitReport, Rung};

/// Decides a launch.
///
/// - `failure`: why the handshake did not finish; `None` if it did.
/// - `guest_ran`: whether the guest was started.
/// - `report`: how the process ended, if it has ended.
pub(super) fn verdict(
    failure: Option<LaunchFailure>,
    guest_ran: bool,
    report: Option<&ExitReport>,
) -> Result<(), LaunchFailure> {
    let Some(failure) = failure else {
        return Ok(());
    };
    let by_itself = |report: &ExitReport| report.cause != ExitCause::Requested(Rung::Kill);
    let exited = match failure {
        LaunchFailure::Exited => true,
        // The closed monitor was the first sign of the end.
        LaunchFailure::NoMonitor(Disconnected::ByServer) => report.is_some_and(by_itself),
        _ => false,
    };
    if !exited {
        return Err(failure);
    }
    // A wrapper that leaves QEMU behind is a failed launch, however late it
    // ends.
    let left_qemu_behind = report.is_some_and(|report| !report.survivors.is_empty());
    if guest_ran && !left_qemu_behind {
        Ok(())
    } else {
        Err(LaunchFailure::Exited)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::life::{ExitStatus, Survivor, SurvivorOutcome};

    fn report(cause: ExitCause, survivors: usize) -> ExitReport {
        let survivor = || Survivor {
            pid: 2,
            name: "qemu".to_owned(),
            outcome: SurvivorOutcome::Killed,
        };
        ExitReport {
            name: String::new(),
            pid: 1,
            status: ExitStatus::Code(0),
            cause,
            guest_exit: None,
            rungs: Vec::new(),
            shutdown_reason: None,
            guest_panicked: false,
            uptime: Duration::ZERO,
            output_tail: Vec::new(),
            console_tail: Vec::new(),
            named_console_tails: Vec::new(),
            log: None,
            survivors: (0..survivors).map(|_| survivor()).collect(),
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_guest_that_ran_and_ended_its_machine_was_launched() {
        let ended = report(ExitCause::Guest, 0);
        let closed = || LaunchFailure::NoMonitor(Disconnected::ByServer);
        assert!(verdict(None, true, None).is_ok());
        assert!(verdict(Some(LaunchFailure::Exited), true, Some(&ended)).is_ok());
        assert!(verdict(Some(closed()), true, Some(&ended)).is_ok());
    }

    #[test]
    fn a_machine_that_ended_before_its_guest_ran_or_left_qemu_behind_was_not() {
        let exited = |guest_ran, report: &ExitReport| {
            let verdict = verdict(Some(LaunchFailure::Exited), guest_ran, Some(report));
            matches!(verdict, Err(LaunchFailure::Exited))
        };
        assert!(exited(false, &report(ExitCause::Guest, 0)));
        assert!(exited(true, &report(ExitCause::Guest, 1)));
    }

    #[test]
    fn a_closed_monitor_is_its_own_failure_if_the_process_had_to_be_killed() {
        let killed = report(ExitCause::Requested(Rung::Kill), 0);
        let closed = LaunchFailure::NoMonitor(Disconnected::ByServer);
        let verdict = verdict(Some(closed), true, Some(&killed));
        assert!(matches!(verdict, Err(LaunchFailure::NoMonitor(_))));
    }
}
