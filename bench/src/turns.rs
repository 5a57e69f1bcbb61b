//! Contenders take turns in each round, so that a slow moment of the host affects
//! all of them.

use crate::Failure;
use crate::operation::Measured;

/// A contender. It runs its operation and returns the value of one round.
pub(crate) struct Contender<'a> {
    pub(crate) who: &'static str,
    pub(crate) round: Box<dyn FnMut() -> Result<f64, Failure> + 'a>,
}

impl<'a> Contender<'a> {
    pub(crate) fn new(who: &'static str, round: impl FnMut() -> Result<f64, Failure> + 'a) -> Self {
        Self {
            who,
            round: Box::new(round),
        }
    }
}

/// Runs each contender once in each of `rounds` rounds. A first round does not
/// count. The order is reversed in every other round, because a later contender
/// may find warm caches.
pub(crate) fn in_turns(
    rounds: usize,
    mut contenders: Vec<Contender<'_>>,
) -> Result<Vec<Measured>, Failure> {
    let mut measured: Vec<_> = contenders
        .iter()
        .map(|contender| Measured {
            who: contender.who,
            values: Vec::new(),
        })
        .collect();
    for contender in &mut contenders {
        (contender.round)()?;
    }
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let index = match round % 2 {
                0 => turn,
                _ => contenders.len() - 1 - turn,
            };
            measured[index].values.push((contenders[index].round)()?);
        }
    }
    Ok(measured)
}
