//! One line of the report: an operation, who did it in which time, and what
//! was to be reached.

use serde::Serialize;

use crate::spread::Spread;

/// What was measured of one operation.
#[derive(Debug, Serialize)]
pub(crate) struct Operation {
    /// Of one word, by which it is chosen and kept apart. What was measured in
    /// the same go has the same word, and another after a slash.
    pub(crate) id: &'static str,
    pub(crate) name: String,
    /// For a reader who is new to it, in whole sentences of Markdown: what is
    /// timed, from where to where, and what stands against it.
    pub(crate) about: String,
    pub(crate) unit: Unit,
    /// In the order in which they had their turns. The first is the floor, if
    /// there is one: the same work by bare calls.
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

/// One who does the operation, and a value of each round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// Begins with what it is: the floor, ours, or the name of a peer.
    pub(crate) who: &'static str,
    #[serde(serialize_with = "crate::spread::rounded")]
    pub(crate) values: Vec<f64>,
}

/// What is to be reached.
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

/// What one who does an operation is in the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The same work by bare calls.
    Floor,
    Ours,
    Peer,
}

/// What floors and ours are called, or what their names begin with.
pub(crate) const FLOOR: &str = "floor";
pub(crate) const WAIT: &str = "ours, .wait()";
pub(crate) const AWAIT: &str = "ours, .await";
pub(crate) const OURS: &str = "ours";

impl Operation {
    /// The ratios of the rounds, each of two values of the same round: a slow
    /// time of the host is one for both.
    pub(crate) fn ratios(&self, who: &str, to: &str) -> Spread {
        let values = |who| {
            let found = self.contenders.iter().find(|it| it.who == who);
            found.map_or(&[][..], |it| &it.values)
        };
        let pairs = values(who).iter().zip(values(to));
        let ratios: Vec<f64> = pairs.map(|(part, whole)| part / whole).collect();
        Spread::of(&ratios)
    }

    /// The floor that this one stands against: that of its bar, or else the
    /// first. Floors have none.
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

    /// What `bar` goes by.
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

    /// Why it is no row: a contender without a value, or a bar for nobody.
    pub(crate) fn flaw(&self) -> Option<String> {
        let id = self.id;
        for Measured { who, values } in &self.contenders {
            if values.is_empty() || !values.iter().all(|value| value.is_finite()) {
                return Some(format!("{id}: {who} has no value, or a strange one"));
            }
        }
        let unheld = self.bars.iter().find(|bar| self.reached(bar).is_nan());
        unheld.map(|bar| format!("{id}: the bar of {} is for what was not measured", bar.who))
    }

    /// Whether it is met; what was not measured is not.
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
        let unmeasured = Limit::RatioAtMost(9.0, "nobody");
        assert!(!operation.meets(&bar(unmeasured)));
    }
}
