//! The life of a machine: how long a launch may take, which end is tried when,
//! and who is the cause.
//!
//! ```text
//!             ready              end
//! Launching ----------> Running ------> Ending <--.  a rung's limit passes, it
//!   |  |                  |              | | |    |  cannot be tried, or a
//!   |  | overdue, useless,|              | | `----'  harder end is asked for:
//!   |  `-- end -----------|--------------' |         next rung
//!   |                     |                |
//!   `------ exited -------+---- exited ----'
//!                         v
//!                       Ended
//! ```
//!
//! Pure: what happened and the time come in, what to do comes out. The time is
//! that of the machine's [`Deadlines`](crate::Deadlines), which may stand still.
//!
//! Never goes back to a softer rung, never ends without a last rung that kills,
//! and never asks softly where nobody has spoken with the machine yet: there
//! is nothing that it could lose.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use qemu_qmp::Event;

use crate::report::{ExitCause, ExitStatus};

/// One means of ending a machine, softer before harder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rung {
    /// Waits for the guest to power itself off; sends nothing.
    Guest,
    /// Presses the guest's power button (`system_powerdown`).
    Powerdown,
    /// Tells QEMU to end (`quit`).
    Quit,
    /// Asks QEMU's process group to end (SIGTERM).
    Terminate,
    /// Ends QEMU's process group (SIGKILL).
    Kill,
}

/// How one rung went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RungReport {
    /// Which it was.
    pub rung: Rung,
    /// From when it was tried to when the machine ended, or the next was.
    pub took: Duration,
    /// What came of it.
    pub outcome: RungOutcome,
}

/// What came of a rung.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RungOutcome {
    /// The machine ended.
    Ended,
    /// The machine had not ended when the rung's time was up.
    TimedOut,
    /// It could not be tried, or QEMU refused.
    Failed(String),
    /// Somebody asked for a harder end meanwhile.
    Overtaken,
}

/// The rungs to climb, each with how long it may take. The last one kills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ladder {
    rungs: VecDeque<(Rung, Option<Duration>)>,
}

impl Ladder {
    /// `rungs` in order, then SIGKILL.
    pub(crate) fn new(rungs: impl IntoIterator<Item = (Rung, Option<Duration>)>) -> Self {
        let softer = rungs.into_iter().filter(|&(rung, _)| rung != Rung::Kill);
        Self {
            rungs: softer.chain([(Rung::Kill, Some(KILL_LIMIT))]).collect(),
        }
    }

    pub(crate) fn kill() -> Self {
        Self::new([])
    }

    fn first(&self) -> Rung {
        self.rungs.front().map_or(Rung::Kill, |&(rung, _)| rung)
    }
}

/// How long a killed process may take to end. Only one that waits in the
/// kernel, for a broken disk for instance, takes longer.
const KILL_LIMIT: Duration = Duration::from_secs(60);

/// How long a process that has closed its monitor may take to end by itself.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why a machine will never be spoken with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Useless {
    /// It closed its monitor.
    Closed,
    /// Its monitor speaks no QMP, or cannot be had.
    Broken,
}

/// What the supervisor shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The launch has taken too long: whoever waits for it is to be told.
    GiveUpLaunch,
    Try(Rung),
    /// The kill has not ended it: whoever waits shall not wait any longer.
    GiveUpWaiting,
}

#[derive(Debug)]
pub(crate) struct Life {
    phase: Phase,
    reports: Vec<RungReport>,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
enum Phase {
    Launching {
        since: Instant,
        limit: Option<Duration>,
    },
    Running,
    Ending {
        rung: Rung,
        since: Instant,
        limit: Option<Duration>,
        next: Ladder,
    },
    Ended,
}

impl Life {
    /// The process has been started, and has this long to be of use.
    pub(crate) fn new(now: Instant, launch_limit: Option<Duration>) -> Self {
        Self {
            phase: Phase::Launching {
                since: now,
                limit: launch_limit,
            },
            reports: Vec::new(),
            actions: VecDeque::new(),
        }
    }

    /// The machine can be spoken with. `false` where the launch was given up
    /// before.
    pub(crate) fn ready(&mut self) -> bool {
        let launching = matches!(self.phase, Phase::Launching { .. });
        if launching {
            self.phase = Phase::Running;
        }
        launching
    }

    /// The machine will never be spoken with. One that has closed its monitor
    /// may be about to end by itself, with a code that says more than a signal
    /// of ours would.
    pub(crate) fn useless(&mut self, now: Instant, how: Useless) {
        if matches!(self.phase, Phase::Launching { .. }) {
            self.climb(
                now,
                match how {
                    Useless::Closed => Ladder::new([(Rung::Guest, Some(LAST_WORDS))]),
                    Useless::Broken => Ladder::kill(),
                },
            );
        }
    }

    /// Somebody wants the machine to end. Where an end is under way that is as
    /// hard as the one wanted begins, it goes on, but each rung takes no longer
    /// than the more impatient of the two wants.
    pub(crate) fn end(&mut self, now: Instant, ladder: Ladder) {
        match &mut self.phase {
            Phase::Ended => return,
            Phase::Launching { .. } => return self.climb(now, Ladder::kill()),
            Phase::Ending {
                rung,
                since,
                limit,
                next,
            } if ladder.first() <= *rung => {
                let passed = now.saturating_duration_since(*since);
                for (wanted, wanted_limit) in ladder.rungs {
                    let Some(wanted_limit) = wanted_limit else {
                        continue;
                    };
                    if wanted == *rung && wanted != Rung::Kill {
                        shorten(limit, passed + wanted_limit);
                    }
                    for (_, limit) in next.rungs.iter_mut().filter(|(rung, _)| *rung == wanted) {
                        shorten(limit, wanted_limit);
                    }
                }
                return;
            }
            _ => self.leave_rung(now, RungOutcome::Overtaken),
        }
        self.climb(now, ladder);
    }

    /// The rung that was to be tried cannot be, or QEMU refused it.
    pub(crate) fn failed(&mut self, now: Instant, tried: Rung, why: String) {
        if matches!(&self.phase, Phase::Ending { rung, .. } if *rung == tried) {
            self.next_rung(now, RungOutcome::Failed(why));
        }
    }

    /// The process has ended.
    pub(crate) fn exited(&mut self, now: Instant) {
        self.leave_rung(now, RungOutcome::Ended);
        self.phase = Phase::Ended;
        self.actions.clear();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Launching { since, limit } | Phase::Ending { since, limit, .. } => {
                since.checked_add(limit?)
            }
            Phase::Running | Phase::Ended => None,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if let Phase::Launching { .. } = self.phase {
            self.actions.push_back(Action::GiveUpLaunch);
            self.climb(now, Ladder::kill());
        } else {
            self.next_rung(now, RungOutcome::TimedOut);
        }
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What was tried, once it is over.
    pub(crate) fn into_reports(self) -> Vec<RungReport> {
        self.reports
    }

    fn next_rung(&mut self, now: Instant, outcome: RungOutcome) {
        let Phase::Ending {
            rung, limit, next, ..
        } = &mut self.phase
        else {
            return;
        };
        if *rung == Rung::Kill {
            // There is nothing harder. The process is waited for still.
            *limit = None;
            self.actions.push_back(Action::GiveUpWaiting);
            return;
        }
        let next = Ladder {
            rungs: std::mem::take(&mut next.rungs),
        };
        self.leave_rung(now, outcome);
        self.climb(now, next);
    }

    fn climb(&mut self, now: Instant, mut ladder: Ladder) {
        let (rung, limit) = ladder
            .rungs
            .pop_front()
            .unwrap_or((Rung::Kill, Some(KILL_LIMIT)));
        self.phase = Phase::Ending {
            rung,
            since: now,
            limit,
            next: ladder,
        };
        self.actions.push_back(Action::Try(rung));
    }

    fn leave_rung(&mut self, now: Instant, outcome: RungOutcome) {
        if let Phase::Ending { rung, since, .. } = self.phase {
            let took = now.saturating_duration_since(since);
            self.reports.push(RungReport {
                rung,
                took,
                outcome,
            });
        }
    }
}

fn shorten(limit: &mut Option<Duration>, wanted: Duration) {
    *limit = Some(limit.map_or(wanted, |limit| limit.min(wanted)));
}

/// Who wanted the end, from what was seen of it. A rung that was left may have
/// had its effect all the same, so what counts is how the process ended: by a
/// signal that we sent, or for the reason that QEMU gave. A death by another
/// signal was nobody's wish, whatever else was under way.
pub(crate) fn cause(
    status: ExitStatus,
    reports: &[RungReport],
    shutdown: Option<&Shutdown>,
) -> ExitCause {
    let tried = |rung| reports.iter().any(|report| report.rung == rung);
    if let Some(signal) = status.signal() {
        return match signal {
            libc::SIGKILL if tried(Rung::Kill) => ExitCause::Requested(Rung::Kill),
            libc::SIGTERM if tried(Rung::Terminate) => ExitCause::Requested(Rung::Terminate),
            _ => ExitCause::Outside,
        };
    }
    let guest = shutdown.is_some_and(|shutdown| shutdown.guest);
    let reason = shutdown.map_or("", |shutdown| &shutdown.reason);
    let by_reason = match reason {
        _ if guest => [Rung::Powerdown, Rung::Guest]
            .into_iter()
            .find(|&it| tried(it)),
        "host-qmp-quit" => Some(Rung::Quit).filter(|&it| tried(it)),
        "host-signal" => Some(Rung::Terminate).filter(|&it| tried(it)),
        _ => None,
    };
    // Nobody exits of SIGKILL.
    let killed = |rung| rung == Rung::Kill && status != ExitStatus::Unknown;
    let last = || {
        let rungs = reports.iter().rev().map(|report| report.rung);
        rungs.into_iter().find(|&rung| !killed(rung))
    };
    match by_reason.or_else(last) {
        Some(rung) => ExitCause::Requested(rung),
        None if guest => ExitCause::Guest,
        None if reason == "host-qmp-quit" => ExitCause::QuitCommand,
        None => ExitCause::Outside,
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

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guest => "waiting for the guest",
            Self::Powerdown => "system_powerdown",
            Self::Quit => "quit",
            Self::Terminate => "SIGTERM",
            Self::Kill => "SIGKILL",
        })
    }
}

impl fmt::Display for RungReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rung,
            took,
            outcome,
        } = self;
        match outcome {
            RungOutcome::Ended => write!(f, "{rung}: it ended after {took:.1?}"),
            RungOutcome::TimedOut => write!(f, "{rung} did not end it in {took:.1?}"),
            RungOutcome::Failed(why) => write!(f, "{rung} failed: {why}"),
            RungOutcome::Overtaken => write!(f, "{rung} was overtaken after {took:.1?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn softly() -> Ladder {
        Ladder::new([
            (Rung::Quit, Some(10 * SECOND)),
            (Rung::Terminate, Some(5 * SECOND)),
        ])
    }

    fn running() -> (Life, Instant) {
        let now = Instant::now();
        let mut life = Life::new(now, Some(SECOND));
        assert!(life.ready());
        (life, now)
    }

    fn outcomes(life: Life) -> Vec<(Rung, u64, RungOutcome)> {
        let reports = life.into_reports().into_iter();
        reports
            .map(|report| (report.rung, report.took.as_secs(), report.outcome))
            .collect()
    }

    #[test]
    fn a_launch_has_its_time_and_is_told_before_it_is_killed() {
        let start = Instant::now();
        let mut life = Life::new(start, Some(SECOND));
        assert_eq!(life.deadline(), Some(start + SECOND));
        life.handle_timeout(start);
        assert_eq!(life.poll_action(), None);
        life.handle_timeout(start + SECOND);
        assert_eq!(life.poll_action(), Some(Action::GiveUpLaunch));
        assert_eq!(life.poll_action(), Some(Action::Try(Rung::Kill)));
        assert!(!life.ready());
        life.exited(start + SECOND);
        assert_eq!(outcomes(life), [(Rung::Kill, 0, RungOutcome::Ended)]);
    }

    #[test]
    fn a_launch_of_no_use_may_end_by_itself_where_it_closed_its_monitor() {
        let start = Instant::now();
        for (how, first) in [
            (Useless::Closed, Rung::Guest),
            (Useless::Broken, Rung::Kill),
        ] {
            let mut life = Life::new(start, None);
            assert_eq!(life.deadline(), None);
            life.useless(start, how);
            assert_eq!(life.poll_action(), Some(Action::Try(first)));
            life.useless(start, Useless::Broken);
            assert_eq!(life.poll_action(), None);
        }
    }

    #[test]
    fn a_launch_that_is_given_up_is_killed_without_asking() {
        let start = Instant::now();
        let mut life = Life::new(start, None);
        life.end(start, softly());
        assert_eq!(life.poll_action(), Some(Action::Try(Rung::Kill)));
    }

    #[test]
    fn each_rung_has_its_own_time_and_the_last_one_kills() {
        let (mut life, start) = running();
        life.end(start, softly());
        assert_eq!(life.poll_action(), Some(Action::Try(Rung::Quit)));
        life.handle_timeout(start + 9 * SECOND);
        assert_eq!(life.poll_action(), None);
        life.handle_timeout(start + 10 * SECOND);
        assert_eq!(life.poll_action(), Some(Action::Try(Rung::Terminate)));
        assert_eq!(life.deadline(), Some(start + 15 * SECOND));
        life.handle_timeout(start + 15 * SECOND);
        assert_eq!(life.poll_action(), Some(Action::Try(Rung::Kill)));
        life.exited(start + 16 * SECOND);
        assert_eq!(life.deadline(), None);
        assert_eq!(
            outcomes(life),
            [
                (Rung::Quit, 10, RungOutcome::TimedOut),
                (Rung::Terminate, 5, RungOutcome::TimedOut),
                (Rung::Kill, 1, RungOutcome::Ended),
            ]
        );
    }

    #[test]
    fn a_rung_that_fails_is_left_at_once_and_only_while_it_is_tried() {
        let (mut life, start) = running();
        life.end(start, softly());
        life.failed(start, Rung::Powerdown, "an old answer".to_owned());
        assert_eq!(life.deadline(), Some(start + 10 * SECOND));
        life.failed(start, Rung::Quit, "no monitor".to_owned());
        assert_eq!(life.deadline(), Some(start + 5 * SECOND));
        life.exited(start);
        let failed = RungOutcome::Failed("no monitor".to_owned());
        assert_eq!(
            outcomes(life),
            [
                (Rung::Quit, 0, failed),
                (Rung::Terminate, 0, RungOutcome::Ended)
            ]
        );
    }

    #[test]
    fn a_harder_end_overtakes_and_a_softer_one_changes_nothing() {
        let (mut life, start) = running();
        life.end(start, softly());
        life.end(start + SECOND, softly());
        assert_eq!(life.deadline(), Some(start + 10 * SECOND));
        life.end(start + SECOND, Ladder::kill());
        life.end(start + SECOND, softly());
        life.exited(start + SECOND);
        life.end(start + SECOND, Ladder::kill());
        assert_eq!(life.poll_action(), None);
        let expected = [
            (Rung::Quit, 1, RungOutcome::Overtaken),
            (Rung::Kill, 0, RungOutcome::Ended),
        ];
        assert_eq!(outcomes(life), expected);
    }

    #[test]
    fn a_kill_without_effect_is_waited_for_but_not_by_the_caller() {
        let (mut life, start) = running();
        life.end(start, Ladder::kill());
        assert_eq!(life.poll_action(), Some(Action::Try(Rung::Kill)));
        life.handle_timeout(start + KILL_LIMIT);
        assert_eq!(life.poll_action(), Some(Action::GiveUpWaiting));
        assert_eq!(life.deadline(), None);
        life.exited(start + 2 * KILL_LIMIT);
        assert_eq!(outcomes(life), [(Rung::Kill, 120, RungOutcome::Ended)]);
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
        let (mut life, start) = running();
        life.end(start, softly());
        life.exited(start);
        let reports = life.into_reports();
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
        let (mut life, start) = running();
        let hurried = [Rung::Powerdown, Rung::Quit, Rung::Terminate];
        life.end(start, Ladder::new(hurried.map(|rung| (rung, Some(SECOND)))));
        for second in 1..4 {
            life.handle_timeout(start + second * SECOND);
        }
        life.exited(start + 4 * SECOND);
        let reports = life.into_reports();
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
            let told = cause(status, &reports, shutdown.as_ref());
            assert_eq!(told, ExitCause::Requested(rung), "{status}");
        }
        // A kill alone, of one that has exited by itself at that moment.
        let only_kill = &reports[3..];
        assert_eq!(cause(clean, only_kill, None), ExitCause::Outside);
    }

    #[test]
    fn who_joins_an_end_need_not_wait_longer_than_they_want() {
        let (mut life, start) = running();
        life.end(
            start,
            Ladder::new([(Rung::Quit, None), (Rung::Terminate, Some(5 * SECOND))]),
        );
        assert_eq!(life.deadline(), None);
        let impatient = [
            (Rung::Quit, Some(2 * SECOND)),
            (Rung::Terminate, Some(SECOND)),
        ];
        life.end(start + SECOND, Ladder::new(impatient));
        assert_eq!(life.deadline(), Some(start + 3 * SECOND));
        life.handle_timeout(start + 3 * SECOND);
        assert_eq!(life.deadline(), Some(start + 4 * SECOND));
    }
}
