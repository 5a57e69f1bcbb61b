//! One row of the report: an operation, the times of its contenders, and its
//! bars.

use serde::Serialize;

use crate::spread::Spread;

/// The results of one operation.
#[derive(Debug, Serialize)]
pub(crate) struct Operation {
    /// One word, to choose it on the command line. Results of the same measurement
    /// have the same word, a slash and another word.
    pub(crate) id: &'static str,
    pub(crate) name: String,
    /// Whole sentences of Markdown for new readers: what is measured, from where to
    /// where, and what it is compared with.
    pub(crate) about: String,
    pub(crate) unit: Unit,
    /// In the order of their turns. The floor is the first, if there is one: the
    /// same work by bare system calls.
    pub(crate) contenders: Vec<Measured>,
    pub(crate) bars: Vec<Bar>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) enum Unit {
    Seconds,
    BytesPerSecond,
    Bytes,
    Count,
}

/// A contender, with a value for each round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// Begins with the kind of contender: floor, ours, or the name of a peer.
    pub(crate) who: &'static str,
    #[serde(serialize_with = "crate::spread::rounded")]
    pub(crate) values: Vec<f64>,
}

/// A limit to meet.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Bar {
    pub(crate) who: &'static str,
    pub(crate) limit: Limit,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) enum Limit {
    /// The median of the rounds' ratios to this other.
    RatioAtMost(f64, &'static str),
    RatioAtLeast(f64, &'static str),
    /// The median itself.
    AtMost(f64),
}

/// The role of a contender in the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The same work by bare system calls.
    Floor,
    Ours,
    Peer,
}

/// The names of floors and ours, or the beginning of their names.
pub(crate) const FLOOR: &str = "floor";
pub(crate) const WAIT: &str = "ours, .wait()";
pub(crate) const AWAIT: &str = "ours, .await";
pub(crate) const OURS: &str = "ours";

impl Operation {
    /// The ratios of the rounds. Each is of two values of the same round, so that a
    /// slow moment of the host affects both.
    pub(crate) fn ratios(&self, who: &str, to: &str) -> Spread {
        let values = |who| {
            let found = self.contenders.iter().find(|it| it.who == who);
            found.map_or(&[][..], |it| &it.values)
        };
        let pairs = values(who).iter().zip(values(to));
        let ratios: Vec<f64> = pairs.map(|(part, whole)| part / whole).collect();
        Spread::of(&ratios)
    }

    /// The floor that this contender is compared with: the floor of its bar, else
    /// the first floor. Floors have none.
    pub(crate) fn floor_of(&self, who: &str) -> Option<&'static str> {
        let contender = |who| self.contenders.iter().find(|it| it.who == who);
        let is_floor = |who| contender(who).is_some_and(|it| it.role() == Role::Floor);
        if is_floor(who) {
            return None;
        }
        let bars = self.bars.iter().filter(|bar| bar.who == who);
        let of_bars = bars.filter_map(|bar| match bar.limit {
            Limit::RatioAtMost(_, to) | Limit::RatioAtLeast(_, to) => Some(to),
            Limit::AtMost(_) => None,
        });
        let first = self.contenders.first().map(|it| it.who);
        of_bars.chain(first).find(|who| is_floor(who))
    }

    /// The value that `bar` compares.
    pub(crate) fn reached(&self, bar: &Bar) -> f64 {
        match bar.limit {
            Limit::RatioAtMost(_, to) | Limit::RatioAtLeast(_, to) => {
                self.ratios(bar.who, to).median
            }
            Limit::AtMost(_) => {
                let found = self.contenders.iter().find(|it| it.who == bar.who);
                found.map_or(f64::NAN, |it| it.spread().median)
            }
        }
    }

    /// What was reached, as a share of the limit: at most 1 if the bar is met. A
    /// limit of 0 has none.
    pub(crate) fn share(&self, bar: &Bar) -> f64 {
        let reached = self.reached(bar);
        match bar.limit {
            Limit::RatioAtMost(limit, _) | Limit::AtMost(limit) => reached / limit,
            Limit::RatioAtLeast(limit, _) => limit / reached,
        }
    }

    /// Why the row is invalid: a contender without a value, or a bar for a contender
    /// that does not exist.
    pub(crate) fn flaw(&self) -> Option<String> {
        let id = self.id;
        for Measured { who, values } in &self.contenders {
            if values.is_empty() || !values.iter().all(|value| value.is_finite()) {
                return Some(format!("{id}: {who} has no value, or an invalid one"));
            }
        }
        let unheld = self.bars.iter().find(|bar| self.reached(bar).is_nan());
        unheld.map(|bar| format!("{id}: the bar of {} is for what was not measured", bar.who))
    }

    /// Whether the bar is met. Without a measurement it is not.
    pub(crate) fn meets(&self, bar: &Bar) -> bool {
        let reached = self.reached(bar);
        match bar.limit {
            Limit::RatioAtMost(limit, _) | Limit::AtMost(limit) => reached <= limit,
            Limit::RatioAtLeast(limit, _) => reached >= limit,
        }
    }
}

impl Measured {
    pub(crate) fn role(&self) -> Role {
        match self.who {
            floor if floor.starts_with(FLOOR) => Role::Floor,
            ours if ours.starts_with(OURS) => Role::Ours,
            _ => Role::Peer,
        }
    }

    pub(crate) fn spread(&self) -> Spread {
        Spread::of(&self.values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_goes_by_the_median_of_ratios_within_rounds() {
        let bar = |limit| Bar { who: OURS, limit };
        let operation = Operation {
            id: "id",
            name: "an operation".into(),
            about: String::new(),
            unit: Unit::Seconds,
            contenders: vec![
                Measured {
                    who: FLOOR,
                    values: vec![1.0, 10.0, 2.0],
                },
                Measured {
                    who: OURS,
                    values: vec![1.1, 10.5, 2.6],
                },
            ],
            bars: Vec::new(),
        };
        assert!(operation.meets(&bar(Limit::RatioAtMost(1.11, FLOOR))));
        assert!(!operation.meets(&bar(Limit::RatioAtMost(1.05, FLOOR))));
        assert!(operation.meets(&bar(Limit::RatioAtLeast(1.09, FLOOR))));
        assert!(operation.meets(&bar(Limit::AtMost(2.6))));
        assert!(!operation.meets(&bar(Limit::AtMost(2.5))));
        for limit in [Limit::AtMost(2.6), Limit::RatioAtLeast(1.1, FLOOR)] {
            assert!((operation.share(&bar(limit)) - 1.0).abs() < 1e-9);
        }
        let unmeasured = Limit::RatioAtMost(9.0, "nobody");
        assert!(!operation.meets(&bar(unmeasured)));
    }
}
