//! The run: rounds of machines. In each round, many threads play one machine
//! after the other. Then the leaks of the round are counted.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use testbed::Census;

use crate::machine::{end_a_plain_machine, play};
use crate::peer::World;
use crate::plan::Plan;
use crate::tally::{Sample, Tally};

/// The machines to play.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Extent {
    pub(crate) seed: u64,
    pub(crate) end: End,
    /// This machine alone, again and again.
    pub(crate) only: Option<u64>,
}

/// The end of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum End {
    After(Duration),
    AfterLaunches(u64),
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) tally: Tally,
    /// One before the first round, then one after each round.
    pub(crate) samples: Vec<Sample>,
    pub(crate) leaks: Vec<String>,
}

impl Outcome {
    /// At the start, in the middle, at the end.
    pub(crate) fn three_samples(&self) -> [Sample; 3] {
        let last = self.samples.len() - 1;
        [0, last.div_ceil(2), last].map(|index| self.samples[index])
    }

    /// Whether the memory grew in the second half of the run. The first half does
    /// not count: the first crowd makes the allocator grow, and it keeps that.
    pub(crate) fn grows(&self) -> bool {
        let [_, middle, end] = self.three_samples();
        end.resident_kib > middle.resident_kib + GROWTH_KIB
    }
}

/// A message of a player.
enum Word {
    Began(Plan),
    Ended(u64, Result<String, String>),
}

/// Plays until the end of the extent, or until too many machines have failed.
///
/// Ends the program if a machine hangs, because its thread would never be joined.
///
/// # Errors
/// A machine without a fault could not be launched and ended.
pub(crate) fn run(extent: Extent, world: &World) -> Result<Outcome, String> {
    let begun = Instant::now();
    // This starts everything that stays on purpose: the engine and the guardian.
    // The guardian becomes a child of this process when its shell has ended.
    end_a_plain_machine(world)?;
    if !testbed::wait_for_ends(&BTreeSet::new(), begun + SETTLE) {
        return Err("the guardian's shell did not end".to_owned());
    }
    let mut before = Census::take(&[&world.base]);
    let mut outcome = Outcome {
        tally: Tally::default(),
        samples: vec![Sample::take(0, &before)],
        leaks: Vec::new(),
    };
    let (deadline, launches) = match extent.end {
        End::After(limit) => (Some(begun + limit), u64::MAX),
        End::AfterLaunches(launches) => (None, launches),
    };
    // At least two rounds, so that there is a middle.
    let round_size = ROUND.min(launches.div_ceil(2));
    let is_late = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
    let mut first = 0;
    while first < launches && !is_late() && outcome.tally.failures < ENOUGH_FAILURES {
        let end = launches.min(first.saturating_add(round_size));
        let round = Round {
            extent,
            world,
            next: AtomicU64::new(first),
            end,
            deadline,
        };
        round.play(&mut outcome.tally);
        first = end;
        let (census, leaks) = settle(world, &before)?;
        let played = outcome.tally.launches();
        outcome.samples.push(Sample::take(played, &census));
        for leak in &leaks {
            let seed = extent.seed;
            println!("LEAKED: seed {seed}, in the round that ends with machine {end}: {leak}");
        }
        outcome.leaks.extend(leaks);
        // A leak that was reported once does not count again.
        before = census;
    }
    Ok(outcome)
}

struct Round<'a> {
    extent: Extent,
    world: &'a World,
    next: AtomicU64,
    end: u64,
    deadline: Option<Instant>,
}

impl Round<'_> {
    fn play(&self, tally: &mut Tally) {
        let (teller, told) = mpsc::channel();
        thread::scope(|scope| {
            let players: Vec<_> = (0..CROWD)
                .map(|_| {
                    let teller = teller.clone();
                    scope.spawn(move || self.play_in_turn(&teller))
                })
                .collect();
            drop(teller);
            if let Err(hangs) = self.watch(&told, tally) {
                println!("{hangs}");
                std::process::exit(1);
            }
            for player in players {
                // The thread of the machine prints the panic.
                let _ = player.join();
            }
        });
    }

    fn play_in_turn(&self, teller: &Sender<Word>) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let is_late = self
                .deadline
                .is_some_and(|deadline| Instant::now() >= deadline);
            if number >= self.end || is_late {
                return;
            }
            let plan = match self.extent.only {
                Some(only) => Plan::of(self.extent.seed, only),
                None => Plan::of(self.extent.seed, number),
            };
            let plan = Plan { number, ..plan };
            // The receiver is gone only at the end of the program.
            let _ = teller.send(Word::Began(plan.clone()));
            let played = catch_unwind(AssertUnwindSafe(|| play(&plan, self.world)));
            let ended = played.unwrap_or_else(|_| Err("a panic, see above".to_owned()));
            let _ = teller.send(Word::Ended(number, ended));
        }
    }

    /// Receives the players' messages until all players have ended.
    fn watch(&self, told: &Receiver<Word>, tally: &mut Tally) -> Result<(), String> {
        let mut playing: BTreeMap<u64, (Instant, Plan)> = BTreeMap::new();
        loop {
            let oldest = playing.values().min_by_key(|(began, _)| *began);
            let left = oldest.map_or(HANG, |(began, _)| HANG.saturating_sub(began.elapsed()));
            match told.recv_timeout(left) {
                Ok(Word::Began(plan)) => {
                    playing.insert(plan.number, (Instant::now(), plan));
                }
                Ok(Word::Ended(number, ended)) => {
                    let Some((_, plan)) = playing.remove(&number) else {
                        continue;
                    };
                    tally.count(&plan, ended.as_deref().ok());
                    if let Err(wrong) = ended {
                        println!("{}", self.failure("FAILED", &plan, &wrong));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {
                    if let Some((_, plan)) = oldest {
                        let wrong = format!("the machine did not end within {HANG:?}");
                        return Err(self.failure("HANGS", plan, &wrong));
                    }
                }
            }
        }
    }

    fn failure(&self, what: &str, plan: &Plan, wrong: &str) -> String {
        let seed = self.extent.seed;
        let number = self.extent.only.unwrap_or(plan.number);
        format!(
            "{what}: seed {seed}, machine {number} (to repeat: --seed {seed} --only {number})\n  \
             plan: {plan:?}\n  {wrong}"
        )
    }
}

/// Lists what is left, after waiting for everything that ends in the background.
fn settle(world: &World, before: &Census) -> Result<(Census, Vec<String>), String> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let census = Census::take(&[&world.base]);
        let leaks = census.since(before);
        if leaks.is_empty() || Instant::now() >= deadline {
            return Ok((census, leaks));
        }
        // A dropped launch ends in the background, without a notice.
        end_a_plain_machine(world)?;
    }
}

/// The largest number of machines at once.
const CROWD: usize = 64;

/// The number of machines in a round. After a round, all must be gone.
const ROUND: u64 = 640;

/// Longer than any machine can take: the library's deadlines are 30 s, and only a
/// few follow each other.
const HANG: Duration = Duration::from_secs(120);

/// The longest time of an end in the background.
const SETTLE: Duration = Duration::from_secs(10);

/// How much the memory of a process without leaks may vary.
const GROWTH_KIB: u64 = 64 << 10;

/// The run stops after this number of failures.
const ENOUGH_FAILURES: u64 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(resident_kib: &[u64]) -> Outcome {
        let sample = |(launches, &resident_kib)| Sample {
            launches,
            resident_kib,
            descriptors: 8,
            threads: 2,
            children: 0,
        };
        Outcome {
            tally: Tally::default(),
            samples: (0..).zip(resident_kib).map(sample).collect(),
            leaks: Vec::new(),
        }
    }

    #[test]
    fn the_middle_is_the_round_that_half_of_them_precede() {
        for (count, middle) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
            let samples = outcome(&vec![0; count]).three_samples();
            let launches = samples.map(|sample| sample.launches);
            assert_eq!(launches, [0, middle, count as u64 - 1]);
        }
    }

    #[test]
    fn memory_grows_where_the_second_half_takes_much() {
        let much = GROWTH_KIB + 1;
        assert!(!outcome(&[0, much, much]).grows());
        assert!(outcome(&[0, 0, much]).grows());
        assert!(!outcome(&[0, much, 0]).grows());
    }
}
