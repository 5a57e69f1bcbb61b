//! What a round costs: time, and this process's processor time.

use std::cell::RefCell;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

use crate::Failure;
use crate::operation::Measured;
use crate::turns::{Contender, in_turns};

/// Of one operation, of those that a round consists of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    /// Of all threads of whoever did it.
    pub(super) cpu_seconds: f64,
}

impl Cost {
    /// Of each of so many operations that `work` does.
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

/// One who does the operation, and what it cost in one round.
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

/// The seconds of all, and their processor time.
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
        // The first round does not count there either.
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
    #[expect(clippy::cast_precision_loss, reason = "it runs for no aeons")]
    let seconds = time.tv_sec as f64;
    seconds + nanoseconds / 1e9
}
