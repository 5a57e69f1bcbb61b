//! Contenders, one after the other in each round, so that a slow time of the
//! host is one for all.

use crate::Failure;
use crate::operation::Measured;

/// One who does an operation, and measures itself: the value of one round.
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

/// Lets each have its turn in each of `rounds` rounds, after one that does not
/// count; the order is reversed in every other round, as who comes next may
/// find warm what was cold.
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
