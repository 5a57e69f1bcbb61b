//! Who wanted a machine's end, from what was seen of it.

use qemu_qmp::Event;

use super::{GuestExit, Rung, RungOutcome, RungReport};
use crate::life::{ExitCause, ExitStatus};

/// Who wanted the end, from what was seen of it. A rung that was left may have
/// had its effect all the same, so what counts is how the process ended: by a
/// signal that we sent, or for the reason that QEMU gave. A death by another
/// signal was nobody's wish, whatever else was under way.
pub(crate) fn cause(
    status: ExitStatus,
    reports: &[RungReport],
    shutdown: Option<&Shutdown>,
    guest_exit: Option<GuestExit>,
) -> ExitCause {
    // What failed had no effect.
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
        // Not every device of the guest's has QEMU say so.
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
            // The last that was tried; but nobody exits of SIGKILL.
            let killed = |rung| rung == Rung::Kill && status != ExitStatus::Unknown;
            let reports = reports.iter().filter(had_effect).rev();
            let mut rungs = reports.map(|report| report.rung);
            let rung = rungs.find(|&rung| !killed(rung));
            rung.map_or(ExitCause::Outside, ExitCause::Requested)
        }
    }
}

/// What QEMU's `SHUTDOWN` event says (`ShutdownCause` in its schema).
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

    /// The cause of an end by no device of the guest's.
    fn cause(status: ExitStatus, reports: &[RungReport], shutdown: Option<&Shutdown>) -> ExitCause {
        super::cause(status, reports, shutdown, None)
    }

    /// The reports of rungs that were tried, the last one to the end.
    fn tried(rungs: &[Rung]) -> Vec<RungReport> {
        let report = |&rung| RungReport {
            rung,
            took: Duration::ZERO,
            outcome: RungOutcome::TimedOut,
        };
        rungs.iter().map(report).collect()
    }

    #[test]
    fn the_cause_is_who_asked() {
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
        // QEMU's own reason counts, also where none of ours led to it.
        let quit_alone = tried(&[Rung::Quit]);
        let cause_of = |shutdown| cause(clean, &quit_alone, Some(&shutdown));
        assert_eq!(cause_of(reason(true, "guest-shutdown")), ExitCause::Guest);
        assert_eq!(cause_of(reason(false, "host-signal")), ExitCause::Outside);
        assert_eq!(cause_of(reason(false, "host-ui")), ExitCause::Outside);
        // What QEMU refused led to nothing.
        let mut refused = tried(&[Rung::Powerdown, Rung::Terminate]);
        refused[0].outcome = RungOutcome::Failed("refused".to_owned());
        let shutdown = reason(true, "guest-shutdown");
        let actual = cause(clean, &refused, Some(&shutdown));
        assert_eq!(actual, ExitCause::Guest);
        // A kill alone, of one that has exited by itself at that moment.
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
        // It was quicker than what was asked of QEMU.
        assert_eq!(cause_of(status, &tried(&[Rung::Quit])), ExitCause::Guest);
        let asked = ExitCause::Requested(Rung::Powerdown);
        assert_eq!(
            cause_of(status, &tried(&[Rung::Powerdown, Rung::Quit])),
            asked
        );
    }
}
