//! Checks a life against a simple model, with random faults.
//!
//! The model is a table: each rung that is left, and its timeout. It has no
//! phases, and no order except hardness.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Action, HandshakeFailure, Ladder, Life, Rung, RungOutcome};

const SOFT: [Rung; 4] = [Rung::Guest, Rung::Powerdown, Rung::Quit, Rung::Terminate];

/// A timeout beyond the clock.
const FOR_EVER: u64 = u64::MAX;

/// What happens to a machine.
#[derive(Debug, Clone)]
enum Input {
    Ready,
    HandshakeFailure(HandshakeFailure),
    /// A caller wants the end, by these rungs; none is a kill.
    End(Vec<(Rung, Option<u64>)>),
    /// A rung could not be tried, or was refused, whether it is current or not.
    Failed(Rung),
    /// The guest is paused for good.
    GuestPaused,
    /// Time passes.
    Pass(u64),
    Exited,
}

fn inputs() -> impl Strategy<Value = Vec<Input>> {
    let rung = || prop::sample::select(SOFT.to_vec());
    let limit = prop_oneof![9 => 0..100_u64, 1 => Just(FOR_EVER)];
    let limit = prop::option::weighted(0.9, limit);
    let ladder = prop::collection::btree_map(rung(), limit, 0..4);
    let input = prop_oneof![
        1 => Just(Input::Ready),
        1 => prop_oneof![Just(HandshakeFailure::Closed), Just(HandshakeFailure::Broken)].prop_map(Input::HandshakeFailure),
        3 => ladder.prop_map(|ladder| Input::End(ladder.into_iter().collect())),
        2 => rung().prop_map(Input::Failed),
        1 => Just(Input::GuestPaused),
        6 => (0..80_u64).prop_map(Input::Pass),
        1 => (0..200_000_u64).prop_map(Input::Pass),
        1 => Just(Input::Exited),
    ];
    prop::collection::vec(input, 0..30)
}

/// The model: a life without its phases. Times are in milliseconds since the
/// start of the process.
#[derive(Debug)]
struct Model {
    launch_limit: Option<u64>,
    launching: bool,
    /// The rungs that are left, and the current one, with their timeouts.
    plan: BTreeMap<Rung, Option<u64>>,
    /// The current rung, and its start.
    current: Option<(Rung, u64)>,
    /// When the grace time of a closed monitor ends.
    last_words: Option<u64>,
    exited: bool,
    gave_up: bool,
    expected: Vec<Action>,
    outcomes: Vec<(Rung, u64, &'static str)>,
}

impl Model {
    fn new(launch_limit: Option<u64>) -> Self {
        Self {
            launch_limit,
            launching: true,
            plan: BTreeMap::new(),
            current: None,
            last_words: None,
            exited: false,
            gave_up: false,
            expected: Vec::new(),
            outcomes: Vec::new(),
        }
    }

    /// When the next timeout is due.
    fn due(&self) -> Option<u64> {
        match self.current {
            _ if self.exited => None,
            None if self.launching => self.last_words.or(self.launch_limit),
            None => None,
            Some((Rung::Kill, _)) if self.gave_up => None,
            Some((rung, since)) => match self.plan[&rung]? {
                FOR_EVER => None,
                limit => Some(since + limit),
            },
        }
    }

    fn take(&mut self, now: u64, input: &Input) {
        if self.exited {
            return;
        }
        match input {
            Input::Ready => self.launching &= !self.may_be_met(),
            Input::HandshakeFailure(HandshakeFailure::Closed) if self.may_be_met() => {
                self.last_words = Some(now + 500);
            }
            Input::HandshakeFailure(HandshakeFailure::Broken) if self.may_be_met() => {
                self.start(now, &[]);
            }
            Input::End(_) if self.launching && self.current.is_none() => self.start(now, &[]),
            Input::End(rungs) => {
                let wanted = plan_of(rungs);
                let softest = *wanted.keys().next().unwrap();
                match self.current {
                    Some((current, since)) if softest <= current => {
                        // It continues, with the shorter timeouts.
                        for (rung, limit) in wanted {
                            let left = rung == current && rung != Rung::Kill;
                            if let Some(planned) = self.plan.get_mut(&rung)
                                && (left || rung > current)
                                && let Some(limit) = limit
                            {
                                let limit =
                                    limit.saturating_add(if left { now - since } else { 0 });
                                *planned = Some(planned.map_or(limit, |it| it.min(limit)));
                            }
                        }
                    }
                    _ => {
                        self.leave(now, "overtaken");
                        self.start(now, rungs);
                    }
                }
            }
            Input::Failed(rung) if self.current.is_some_and(|(it, _)| it == *rung) => {
                self.leave(now, "failed");
                self.next(now, *rung);
            }
            Input::GuestPaused => {
                if let Some((rung @ (Rung::Guest | Rung::Powerdown), _)) = self.current {
                    self.leave(now, "guest paused");
                    self.next(now, rung);
                }
            }
            Input::Exited => {
                self.leave(now, "ended");
                self.exited = true;
                self.expected.clear();
            }
            Input::HandshakeFailure(_) | Input::Failed(_) | Input::Pass(_) => {}
        }
    }

    fn may_be_met(&self) -> bool {
        self.launching && self.current.is_none() && self.last_words.is_none()
    }

    /// The timeout has passed.
    fn overdue(&mut self, now: u64) {
        match self.current {
            None => {
                if self.last_words.is_none() {
                    self.expected.push(Action::GiveUpLaunch);
                }
                self.start(now, &[]);
            }
            Some((Rung::Kill, _)) => {
                self.gave_up = true;
                self.expected.push(Action::GiveUpWaiting);
            }
            Some((rung, _)) => {
                self.leave(now, "timed out");
                self.next(now, rung);
            }
        }
    }

    fn start(&mut self, now: u64, rungs: &[(Rung, Option<u64>)]) {
        self.plan = plan_of(rungs);
        let first = *self.plan.keys().next().unwrap();
        self.current = Some((first, now));
        self.expected.push(Action::Try(first));
    }

    fn next(&mut self, now: u64, after: Rung) {
        let (&rung, _) = self.plan.iter().find(|&(&rung, _)| rung > after).unwrap();
        self.current = Some((rung, now));
        self.expected.push(Action::Try(rung));
    }

    fn leave(&mut self, now: u64, outcome: &'static str) {
        if let Some((rung, since)) = self.current {
            self.outcomes.push((rung, now - since, outcome));
        }
    }
}

/// These rungs, and the last one, with its minute.
fn plan_of(rungs: &[(Rung, Option<u64>)]) -> BTreeMap<Rung, Option<u64>> {
    rungs
        .iter()
        .copied()
        .chain([(Rung::Kill, Some(60_000))])
        .collect()
}

fn name_of(outcome: &RungOutcome) -> &'static str {
    match outcome {
        RungOutcome::Ended => "ended",
        RungOutcome::TimedOut => "timed out",
        RungOutcome::Failed(_) => "failed",
        RungOutcome::Overtaken => "overtaken",
        RungOutcome::GuestPaused => "guest paused",
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        // A failure is outcomes with its inputs; nothing is written for it.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_life_is_as_the_model_of_it_whatever_happens(
        launch_limit in prop::option::of(0..100_u64),
        inputs in inputs(),
    ) {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let span = |ms: Option<u64>| {
            ms.map(|ms| if ms == FOR_EVER { Duration::MAX } else { Duration::from_millis(ms) })
        };
        let mut life = Life::new(start, span(launch_limit));
        let mut model = Model::new(launch_limit);
        let mut now = 0;
        let mut tried: Vec<Rung> = Vec::new();
        let mut ended_since = None;

        for input in inputs {
            match &input {
                Input::Ready => {
                    let ready = life.ready();
                    let wanted = model.may_be_met() && !model.exited;
                    prop_assert_eq!(ready, wanted);
                }
                Input::HandshakeFailure(how) => life.handshake_failed(at(now), *how),
                Input::End(rungs) => {
                    let rungs = rungs.iter().map(|&(rung, limit)| (rung, span(limit)));
                    life.end(at(now), Ladder::new(rungs));
                }
                Input::Failed(rung) => life.failed(at(now), *rung, "refused".to_owned()),
                Input::GuestPaused => life.guest_paused(at(now)),
                Input::Exited => {
                    life.exited(at(now));
                    ended_since.get_or_insert(now);
                }
                Input::Pass(ms) => {
                    let until = now + ms;
                    // Like the supervisor, it wakes when a timeout is due.
                    while let Some(due) = model.due().filter(|&due| due <= until) {
                        now = now.max(due);
                        prop_assert!(life.deadline().is_some_and(|it| it <= at(now)));
                        life.handle_timeout(at(now));
                        model.overdue(now);
                        prop_assert_eq!(life.deadline(), model.due().map(at));
                    }
                    now = until;
                    // If it wakes too early, it does nothing.
                    life.handle_timeout(at(now));
                }
            }
            model.take(now, &input);
            prop_assert_eq!(life.deadline(), model.due().map(at));
            let actions: Vec<Action> = std::iter::from_fn(|| life.poll_action()).collect();
            prop_assert_eq!(&actions, &model.expected);
            model.expected.clear();
            for action in actions {
                if let Action::Try(rung) = action {
                    prop_assert!(tried.last().is_none_or(|&last| last < rung));
                    tried.push(rung);
                }
            }
        }
        let reports = life.into_reports();
        if ended_since.is_some() {
            prop_assert_eq!(reports.len(), tried.len());
        }
        let outcomes: Vec<_> = reports
            .iter()
            .map(|it| (it.rung, u64::try_from(it.took.as_millis()).unwrap(), name_of(&it.outcome)))
            .collect();
        prop_assert_eq!(outcomes, model.outcomes);
    }
}
