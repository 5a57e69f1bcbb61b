//! Runs jobs side by side: test programs, alone or under hardships, and the tests
//! of other languages.
//!
//! One job after the other leaves processors idle, because most tests wait for
//! something. So there are lanes, and each runs one job after the other.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    thread,
};

use super::{runner::Outcome, suites::Suites};
use crate::failure::Failure;

/// Something that runs tests.
pub(crate) struct Job<'a> {
    /// The name for messages.
    pub(crate) name: String,
    work: Work<'a>,
}

type Work<'a> = Box<dyn FnOnce(&str) -> Result<Outcome, Failure> + Send + 'a>;

impl<'a> Job<'a> {
    /// A job of this name. The work gets the name, too.
    pub(crate) fn new(
        name: impl Into<String>,
        work: impl FnOnce(&str) -> Result<Outcome, Failure> + Send + 'a,
    ) -> Self {
        let (name, work) = (name.into(), Box::new(work));
        Self { name, work }
    }

    /// An error of the work counts as one failure.
    fn run(self) -> Outcome {
        (self.work)(&self.name).unwrap_or_else(|failure| {
            tell!("{}: {failure}", self.name);
            Outcome::failed(&self.name)
        })
    }
}

/// Runs all jobs: first in lanes, then those that must run alone.
pub(crate) fn run(suites: Suites<Job<'_>>) -> Outcome {
    let queues = Mutex::new([VecDeque::from(suites.busy), VecDeque::from(suites.waiting)]);
    let outcome = Mutex::new(Outcome::default());
    // The lock is held only for this: not while a job runs.
    let next = |own| {
        let mut queues = queues.lock().unwrap_or_else(PoisonError::into_inner);
        pop(&mut *queues, own)
    };
    let add = |more| *outcome.lock().unwrap_or_else(PoisonError::into_inner) += more;
    thread::scope(|scope| {
        for own in LANES {
            scope.spawn(move || {
                while let Some(job) = next(own) {
                    add(job.run());
                }
            });
        }
    });
    for job in suites.alone {
        add(job.run());
    }
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The next job of a lane's own queue. When that is empty, the lane helps with
/// the others.
fn pop<T>(queues: &mut [VecDeque<T>], own: usize) -> Option<T> {
    if let Some(job) = queues[own].pop_front() {
        return Some(job);
    }
    queues.iter_mut().find_map(VecDeque::pop_front)
}

/// The queue of each lane: two lanes keep the processors busy, and one waits.
const LANES: [usize; 3] = [BUSY, BUSY, WAITING];
const BUSY: usize = 0;
const WAITING: usize = 1;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_lane_without_jobs_helps_the_others() {
        let mut queues = [VecDeque::from([1, 2]), VecDeque::from([3])];
        let taken = [WAITING; 4].map(|own| pop(&mut queues, own));
        assert_eq!(taken, [Some(3), Some(1), Some(2), None]);
    }

    #[test]
    fn every_job_runs_and_those_alone_are_last() {
        let (ended, order) = mpsc::channel();
        let job = |name: &str| {
            let ended = ended.clone();
            Job::new(name, move |name| {
                ended.send(name.to_owned()).unwrap();
                Ok(Outcome::PASSED)
            })
        };
        let outcome = run(Suites {
            busy: ["a", "b", "c"].map(job).into(),
            waiting: vec![job("d"), Job::new("e", |_| Err(Failure::new("no")))],
            alone: vec![job("f")],
        });
        let mut order: Vec<_> = order.try_iter().collect();
        assert_eq!(order.pop().unwrap(), "f");
        order.sort();
        assert_eq!(order, ["a", "b", "c", "d"]);
        assert_eq!((outcome.tally.passed, outcome.tally.failed), (5, 1));
        assert_eq!(outcome.failed, ["e"]);
    }
}
