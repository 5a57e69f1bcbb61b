//! Results while something grows, for example from one to a thousand machines.
//! Each result is per item (machine, byte), so a level line is a cost that grows
//! in proportion to the work.

mod flight;
mod listeners;
mod machines;
mod peer;
mod reply;
mod ring;

use crate::curve::{Curve, SlopeBar};
use crate::setting::Setting;
use crate::topic::Topic;

/// In the order of the report.
pub(crate) const TOPICS: [Topic<Curve>; 5] = [
    machines::TOPIC,
    listeners::TOPIC,
    flight::TOPIC,
    reply::TOPIC,
    ring::TOPIC,
];

/// A bar for each of these lines: it does not grow.
fn level(whose: &[&'static str]) -> Vec<SlopeBar> {
    let bar = |&who| SlopeBar {
        who,
        beside: None,
        at_most: TOLERANCE,
    };
    whose.iter().map(bar).collect()
}

/// The bar for a line that grows no more than its floor.
fn beside(who: &'static str, floor: &'static str) -> SlopeBar {
    SlopeBar {
        who,
        beside: Some(floor),
        at_most: TOLERANCE,
    }
}

/// The unit of items that are counted.
fn counts(setting: &Setting) -> &'static [u32] {
    setting.size(&[1, 3, 10, 30, 100, 300, 1000], &[1, 2, 4])
}

/// The unit of items that have a size.
fn sizes(setting: &Setting) -> Vec<usize> {
    let shifts: &[u32] = setting.size(&[10, 12, 14, 16, 18, 20, 22, 24, 26], &[10, 12, 14]);
    shifts.iter().map(|shift| 1 << shift).collect()
}

/// A quarter more for each factor of ten. Large sizes do not fit the processor's
/// caches, and the host is not always quiet. Logarithmic growth up to a thousand
/// meets this limit, and growth with the square root does not.
const TOLERANCE: f64 = 0.1;
