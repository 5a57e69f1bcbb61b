//! The figures while something grows, from one to a thousand machines, say. What
//! is told is always a share, per machine or per byte, so that a level line is a
//! cost that grows with its work and no faster.

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

/// A bar for each of these: that it does not grow.
fn level(whose: &[&'static str]) -> Vec<SlopeBar> {
    let bar = |&who| SlopeBar {
        who,
        beside: None,
        at_most: TOLERANCE,
    };
    whose.iter().map(bar).collect()
}

/// The bar that it grows no more than its floor does.
fn beside(who: &'static str, floor: &'static str) -> SlopeBar {
    SlopeBar {
        who,
        beside: Some(floor),
        at_most: TOLERANCE,
    }
}

/// How many there are of what is counted.
fn counts(setting: &Setting) -> &'static [u32] {
    setting.size(&[1, 3, 10, 30, 100, 300, 1000], &[1, 2, 4])
}

/// How large it is, where it has a size.
fn sizes(setting: &Setting) -> Vec<usize> {
    let shifts: &[u32] = setting.size(&[10, 12, 14, 16, 18, 20, 22, 24, 26], &[10, 12, 14]);
    shifts.iter().map(|shift| 1 << shift).collect()
}

/// A quarter more for each tenfold: the caches of a processor are left behind
/// on the way, and the host is not always quiet. A cost that grows with the
/// logarithm of a thousand stays within it, one with the root does not.
const TOLERANCE: f64 = 0.1;
