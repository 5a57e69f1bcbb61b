//! Decides who caused the end of a machine.

use qemu_qmp::Event;

use super::{GuestExit, Rung, RungOutcome, RungReport};
use crate::life::{ExitCause, ExitStatus};

/// Decides who caused the end.
///
/// How the process ended decides: the signal from us, or the reason that QEMU
/// reported. A rung can have its effect after its timeout, so every tried rung
/// counts. A death by any other signal has an outside cause, whatever rung was
/// current.
pub(crate) fn cause(
    status: ExitStatus,
    reports: &[RungReport],
    shutdown: Option<&Shutdown>,
    guest_exit: Option<GuestExit>,
) -> ExitCause {
    // A failed rung had no effect.
    let had_effect = |report: &&RungReport| !matches!(report.outcome, RungOutcome::Failed(_));
    let tried = |rung| {
        let mut reports = reports.iter().filter(had_effect);
        reports.any(|report| report.rung == rung)
    };
    if let Some(signal) = status.signal() {
        return match signal {
            libc::SIGKILL if tried(Rung::Kill) => ExitCause::Requested(Rung::Kill),
            libc::SIGTERM if tried(Rung::Terminate) => ExitCause::Requested(Rung::Terminate),
            _ => ExitCause::Outside,
        };
    }
    let requested_or = |rungs: &[Rung], else_by| {
        let rung = rungs.iter().copied().find(|&rung| tried(rung));
        rung.map_or(else_by, ExitCause::Requested)
    };
    match shutdown {
        Some(Shutdown { guest: true, .. }) => {
            requested_or(&[Rung::Powerdown, Rung::Guest], ExitCause::Guest)
        }
        // QEMU does not report the exit of every guest device.
        None if guest_exit.is_some() => {
            requested_or(&[Rung::Powerdown, Rung::Guest], ExitCause::Guest)
        }
        Some(Shutdown { reason, .. }) if reason == "host-qmp-quit" => {
            requested_or(&[Rung::Quit], ExitCause::QuitCommand)
        }
        Some(Shutdown { reason, .. }) if reason == "host-signal" => {
            requested_or(&[Rung::Terminate], ExitCause::Outside)
        }
        Some(_) => ExitCause::Outside,
        None => {
            // The last tried rung; but SIGKILL causes no exit code.
            let killed = |rung| rung == Rung::Kill && status != ExitStatus::Unknown;
            let reports = reports.iter().filter(had_effect).rev();
            let mut rungs = reports.map(|report| report.rung);
            let rung = rungs.find(|&rung| !killed(rung));
            rung.map_or(ExitCause::Outside, ExitCause::Requested)
        }
    }
}

/// The data of the `SHUTDOWN` event of QEMU (`ShutdownCause` in its schema).
#[derive(Debug, Clone)]
pub(crate) struct Shutdown {
    pub(crate) guest: bool,
    pub(crate) reason: String,
}

impl Shutdown {
    pub(crate) fn parse(event: &Event) -> Self {
        let data: serde_json::Value = event.data().unwrap_or_default();
        Self {
            guest: data["guest"].as_bool().unwrap_or_default(),
            reason: data["reason"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::life::ExitDevice;

    /// The cause of an end without a guest device.
    fn cause(status: ExitStatus, reports: &[RungReport], shutdown: Option<&Shutdown>) -> ExitCause {
        super::cause(status, reports, shutdown, None)
    }

    /// The reports of these tried rungs.
    fn tried(rungs: &[Rung]) -> Vec<RungReport> {
        let report = |&rung| RungReport {
            rung,
            took: Duration::ZERO,
            outcome: RungOutcome::TimedOut,
        };
        rungs.iter().map(report).collect()
    }

    #[test]
    fn the_cause_is_the_requester() {
        let shutdown = |guest, reason: &str| Shutdown {
            guest,
            reason: reason.to_owned(),
        };
        let clean = ExitStatus::Code(0);
        let killed = ExitStatus::Signal {
            signal: libc::SIGKILL,
            core_dumped: false,
        };
        let guest = shutdown(true, "guest-shutdown");
        assert_eq!(cause(clean, &[], None), ExitCause::Outside);
        assert_eq!(cause(clean, &[], Some(&guest)), ExitCause::Guest);
        assert_eq!(cause(killed, &[], Some(&guest)), ExitCause::Outside);
        let quit = shutdown(false, "host-qmp-quit");
        assert_eq!(cause(clean, &[], Some(&quit)), ExitCause::QuitCommand);
        let signal = shutdown(false, "host-signal");
        assert_eq!(cause(clean, &[], Some(&signal)), ExitCause::Outside);
        let reports = tried(&[Rung::Quit]);
        assert_eq!(
            cause(clean, &reports, Some(&quit)),
            ExitCause::Requested(Rung::Quit)
        );
        assert_eq!(cause(killed, &reports, Some(&quit)), ExitCause::Outside);
        assert_eq!(
            cause(clean, &reports, None),
            ExitCause::Requested(Rung::Quit)
        );
    }

    #[test]
    fn a_rung_that_was_left_too_early_is_the_cause_all_the_same() {
        let reports = tried(&[Rung::Powerdown, Rung::Quit, Rung::Terminate, Rung::Kill]);
        let signal = |signal| ExitStatus::Signal {
            signal,
            core_dumped: false,
        };
        let reason = |guest, reason: &str| Shutdown {
            guest,
            reason: reason.to_owned(),
        };
        let clean = ExitStatus::Code(0);
        for (status, shutdown, rung) in [
            (signal(libc::SIGKILL), None, Rung::Kill),
            (signal(libc::SIGTERM), None, Rung::Terminate),
            (clean, None, Rung::Terminate),
            (clean, Some(reason(false, "host-signal")), Rung::Terminate),
            (clean, Some(reason(false, "host-qmp-quit")), Rung::Quit),
            (clean, Some(reason(true, "guest-shutdown")), Rung::Powerdown),
            (ExitStatus::Unknown, None, Rung::Kill),
        ] {
            let actual = cause(status, &reports, shutdown.as_ref());
            assert_eq!(actual, ExitCause::Requested(rung), "{status}");
        }
        // The reason from QEMU decides, even if no rung of ours led to it.
        let quit_alone = tried(&[Rung::Quit]);
        let cause_of = |shutdown| cause(clean, &quit_alone, Some(&shutdown));
        assert_eq!(cause_of(reason(true, "guest-shutdown")), ExitCause::Guest);
        assert_eq!(cause_of(reason(false, "host-signal")), ExitCause::Outside);
        assert_eq!(cause_of(reason(false, "host-ui")), ExitCause::Outside);
        // A refused rung had no effect.
        let mut refused = tried(&[Rung::Powerdown, Rung::Terminate]);
        refused[0].outcome = RungOutcome::Failed("refused".to_owned());
        let shutdown = reason(true, "guest-shutdown");
        let actual = cause(clean, &refused, Some(&shutdown));
        assert_eq!(actual, ExitCause::Guest);
        // Only a kill, of a process that exited by itself at that moment.
        let only_kill = &reports[3..];
        assert_eq!(cause(clean, only_kill, None), ExitCause::Outside);
    }

    #[test]
    fn an_exit_by_a_device_of_the_guest_is_the_guest_s_without_an_event_too() {
        let cause_of = |status, reports: &[RungReport]| {
            let exit = GuestExit {
                device: ExitDevice::IsaDebugExit,
                code: 16,
            };
            super::cause(status, reports, None, Some(exit))
        };
        let status = ExitStatus::Code(33);
        assert_eq!(cause_of(status, &[]), ExitCause::Guest);
        // It was faster than the request to QEMU.
        assert_eq!(cause_of(status, &tried(&[Rung::Quit])), ExitCause::Guest);
        let asked = ExitCause::Requested(Rung::Powerdown);
        assert_eq!(
            cause_of(status, &tried(&[Rung::Powerdown, Rung::Quit])),
            asked
        );
    }
}
