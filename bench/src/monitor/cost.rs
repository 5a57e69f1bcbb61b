//! The cost of a round: time, and this process's processor time.

use std::cell::RefCell;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use crate::Failure;
use crate::operation::Measured;
use crate::turns::{Contender, in_turns};

/// The cost of one of the operations in a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    /// The processor time of all threads.
    pub(super) cpu_seconds: f64,
}

impl Cost {
    /// Measures `work`, which does this number of operations.
    pub(super) fn of(
        operations: u32,
        work: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let (begun, cpu_begun) = (Instant::now(), cpu_seconds());
        work()?;
        Ok(Self {
            seconds: begun.elapsed().as_secs_f64() / f64::from(operations),
            cpu_seconds: (cpu_seconds() - cpu_begun) / f64::from(operations),
        })
    }
}

/// A contender, and its cost in one round.
pub(super) struct Costing<'a> {
    who: &'static str,
    round: Box<dyn FnMut() -> Result<Cost, Failure> + 'a>,
}

impl<'a> Costing<'a> {
    pub(super) fn new(
        who: &'static str,
        round: impl FnMut() -> Result<Cost, Failure> + 'a,
    ) -> Self {
        Self {
            who,
            round: Box::new(round),
        }
    }
}

/// The seconds of all contenders, and their processor time.
pub(super) fn costs(
    rounds: usize,
    costing: Vec<Costing<'_>>,
) -> Result<[Vec<Measured>; 2], Failure> {
    let cpu: Vec<_> = costing
        .iter()
        .map(|it| (it.who, RefCell::new(Vec::new())))
        .collect();
    let contenders = costing.into_iter().zip(&cpu);
    let contenders = contenders.map(|(mut costing, (who, cpu))| {
        Contender::new(who, move || {
            let cost = (costing.round)()?;
            cpu.borrow_mut().push(cost.cpu_seconds);
            Ok(cost.seconds)
        })
    });
    let seconds = in_turns(rounds, contenders.collect())?;
    let cpu = cpu.into_iter().map(|(who, values)| Measured {
        who,
        // The first round does not count here either.
        values: values.into_inner().split_off(1),
    });
    Ok([seconds, cpu.collect()])
}

/// Of this process, all its threads.
pub(crate) fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a second in nanoseconds is exact"
    )]
    let nanoseconds = time.tv_nsec as f64;
    #[expect(clippy::cast_precision_loss, reason = "a run takes less than 2^53 ns")]
    let seconds = time.tv_sec as f64;
    seconds + nanoseconds / 1e9
}
