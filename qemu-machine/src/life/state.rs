//! The life of a machine: how long a launch may take, which rung ends it when,
//! and how each rung went.
//!
//! ```text
//!              ready                end
//! Launching -----------> Running ---------> Ending <--.  a rung's limit passes, it
//!   |  |  |                 |                ^  |  |  |  cannot be tried, or a
//!   |  |  `-- overdue, broken, end ----------'  |  `--'  harder end is asked for:
//!   |  |                    |                ^  |        next rung
//!   |  `-- closed --> LastWords -- late, end-'  |
//!   |                     | |                   |
//!   `------- exited ------+-+------ exited -----'
//!                           v
//!                         Ended
//! ```
//!
//! Pure: events and the time come in, actions come out. The time is that of the
//! [`Deadlines`](crate::Deadlines) of the machine, which can be suspended.
//!
//! Never goes back to a softer rung. Never ends without a last rung that kills.
//! Never asks softly before the handshake is done: the machine has nothing to
//! lose.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ladder::{KILL_LIMIT, Ladder, Rung, RungOutcome, RungReport};

/// How long a process may run after it closed its monitor.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Why the handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeFailure {
    /// QEMU closed the monitor.
    Closed,
    /// The monitor does not follow the protocol, cannot be connected, or
    /// refuses a command of the launch.
    Broken,
}

/// What the supervisor must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Notify the launch that its deadline has passed.
    GiveUpLaunch,
    Try(Rung),
    /// Notify the callers that the kill had no effect. They stop waiting.
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
    /// The handshake failed, and the process has a moment to end by itself.
    LastWords {
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
    /// The process has started, and the handshake must finish within
    /// `launch_limit`.
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

    /// The handshake is done. Returns `false` if the launch was given up
    /// before.
    pub(crate) fn ready(&mut self) -> bool {
        let launching = matches!(self.phase, Phase::Launching { .. });
        if launching {
            self.phase = Phase::Running;
        }
        launching
    }

    /// The handshake failed. A process that closed its monitor may be about to
    /// exit, and its own exit code says more than a signal from us.
    pub(crate) fn handshake_failed(&mut self, now: Instant, how: HandshakeFailure) {
        match (&self.phase, how) {
            (Phase::Launching { .. }, HandshakeFailure::Closed) => {
                self.phase = Phase::LastWords {
                    since: now,
                    limit: Some(LAST_WORDS),
                };
            }
            (Phase::Launching { .. }, HandshakeFailure::Broken) => self.climb(now, Ladder::kill()),
            _ => {}
        }
    }

    /// A caller wants the machine to end. If it is already ending, and at least
    /// as hard as this ladder begins, that end continues. Then each rung gets
    /// the shorter of both timeouts.
    pub(crate) fn end(&mut self, now: Instant, ladder: Ladder) {
        match &mut self.phase {
            Phase::Ended => return,
            Phase::Launching { .. } | Phase::LastWords { .. } => {
                return self.climb(now, Ladder::kill());
            }
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
                        shorten(limit, passed.saturating_add(wanted_limit));
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

    /// A rung could not be tried, or QEMU refused it.
    pub(crate) fn failed(&mut self, now: Instant, tried: Rung, why: String) {
        if matches!(&self.phase, Phase::Ending { rung, .. } if *rung == tried) {
            self.next_rung(now, RungOutcome::Failed(why));
        }
    }

    /// The guest is paused for good, so it will not power off.
    pub(crate) fn guest_paused(&mut self, now: Instant) {
        if let Phase::Ending {
            rung: Rung::Guest | Rung::Powerdown,
            ..
        } = self.phase
        {
            self.next_rung(now, RungOutcome::GuestPaused);
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
            Phase::Launching { since, limit }
            | Phase::LastWords { since, limit }
            | Phase::Ending { since, limit, .. } => since.checked_add(limit?),
            Phase::Running | Phase::Ended => None,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        match self.phase {
            Phase::Launching { .. } => {
                self.actions.push_back(Action::GiveUpLaunch);
                self.climb(now, Ladder::kill());
            }
            Phase::LastWords { .. } => self.climb(now, Ladder::kill()),
            _ => self.next_rung(now, RungOutcome::TimedOut),
        }
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The rungs that were tried.
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
            // There is no harder rung. The supervisor still waits for the
            // process.
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
    fn a_late_launch_is_notified_before_the_process_is_killed() {
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
    fn a_launch_whose_monitor_was_closed_may_end_by_itself() {
        let start = Instant::now();
        let kill = Some(Action::Try(Rung::Kill));
        let mut broken = Life::new(start, None);
        broken.handshake_failed(start, HandshakeFailure::Broken);
        assert_eq!(broken.poll_action(), kill);

        let mut closed = Life::new(start, None);
        closed.handshake_failed(start, HandshakeFailure::Closed);
        closed.handshake_failed(start, HandshakeFailure::Broken);
        assert_eq!(closed.poll_action(), None);
        closed.handle_timeout(start + LAST_WORDS);
        assert_eq!(closed.poll_action(), kill);

        // An end by itself is no rung.
        let mut closed = Life::new(start, None);
        closed.handshake_failed(start, HandshakeFailure::Closed);
        closed.exited(start);
        assert_eq!(outcomes(closed), []);
    }

    #[test]
    fn a_limit_beyond_the_clock_is_none() {
        let (mut life, start) = running();
        for _ in 0..2 {
            let ladder = Ladder::new([(Rung::Quit, Some(Duration::MAX))]);
            life.end(start + SECOND, ladder);
            assert_eq!(life.deadline(), None);
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
    fn a_guest_that_is_paused_for_good_is_not_waited_for() {
        for rung in [Rung::Guest, Rung::Powerdown] {
            let (mut life, start) = running();
            life.guest_paused(start);
            assert_eq!(life.poll_action(), None);
            let ladder = [(rung, Some(10 * SECOND)), (Rung::Quit, Some(SECOND))];
            life.end(start, Ladder::new(ladder));
            assert_eq!(life.poll_action(), Some(Action::Try(rung)));
            life.guest_paused(start + SECOND);
            assert_eq!(life.poll_action(), Some(Action::Try(Rung::Quit)));
            // A rung that does not wait for the guest goes on.
            life.guest_paused(start + SECOND);
            assert_eq!(life.deadline(), Some(start + 2 * SECOND));
            life.exited(start + SECOND);
            assert_eq!(
                outcomes(life),
                [
                    (rung, 1, RungOutcome::GuestPaused),
                    (Rung::Quit, 0, RungOutcome::Ended)
                ]
            );
        }
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
    fn the_caller_does_not_wait_for_a_kill_without_effect() {
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
    fn a_caller_that_joins_an_end_waits_no_longer_than_it_wants() {
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
