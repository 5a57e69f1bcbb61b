//! The parts of a run. No part can be left out by mistake.

use crate::Failure;
use crate::curve::Curve;
use crate::operation::Operation;
use crate::setting::Setting;

/// A group of operations or of curves.
pub(crate) struct Topic<R = Operation> {
    /// The ids of all rows.
    pub(crate) rows: &'static [&'static str],
    /// Measures the wanted rows.
    pub(crate) measure: fn(&Setting) -> Result<Vec<R>, Failure>,
}

/// One of a report.
pub(crate) trait Row {
    fn id(&self) -> &'static str;

    /// Why the row is invalid.
    fn flaw(&self) -> Option<String>;
}

impl<R: Row> Topic<R> {
    /// Measures, and checks that every wanted row is there and valid.
    pub(crate) fn run(&self, setting: &Setting) -> Result<Vec<R>, Failure> {
        let rows = (self.measure)(setting)?;
        let wanted: Vec<_> = self.rows.iter().filter(|id| setting.wants(id)).collect();
        let found: Vec<_> = rows.iter().map(Row::id).collect();
        if !wanted.iter().copied().eq(&found) {
            return Err(
                format!("the rows {wanted:?} are wanted, but {found:?} were measured").into(),
            );
        }
        match rows.iter().find_map(Row::flaw) {
            Some(flaw) => Err(flaw.into()),
            None => Ok(rows),
        }
    }
}

impl Row for Operation {
    fn id(&self) -> &'static str {
        self.id
    }

    fn flaw(&self) -> Option<String> {
        Self::flaw(self)
    }
}

impl Row for Curve {
    fn id(&self) -> &'static str {
        self.id
    }

    fn flaw(&self) -> Option<String> {
        Self::flaw(self)
    }
}

/// Words of the command line that are not ids of rows.
pub(crate) fn check_ids<'a>(
    setting: &Setting,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), String> {
    let is_known = |id: &String| known.clone().any(|known| known == id);
    match setting.only.iter().find(|id| !is_known(id)) {
        None => Ok(()),
        Some(id) => {
            let known: Vec<_> = known.collect();
            Err(format!(
                "there is no row '{id}'; the rows are: {}",
                known.join(", ")
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::{Bar, FLOOR, Limit, Measured, OURS, Unit};
    use crate::setting::Extent;

    fn setting(only: &[&str]) -> Setting {
        Setting {
            fake_qemu: "fake-qemu".into(),
            qemu: "qemu".into(),
            command: "qemu-machine".into(),
            linux: "linux".into(),
            python: None,
            extent: Extent::Smoke,
            only: only.iter().map(|&id| id.to_owned()).collect(),
            out: None,
        }
    }

    fn operation(id: &'static str, values: Vec<f64>) -> Operation {
        Operation {
            id,
            name: id.into(),
            about: String::new(),
            unit: Unit::Seconds,
            contenders: vec![Measured { who: OURS, values }],
            bars: vec![Bar {
                who: OURS,
                limit: Limit::AtMost(1.0),
            }],
        }
    }

    const ROWS: [&str; 2] = ["one", "one/memory"];

    #[test]
    fn a_row_that_is_missing_or_was_not_measured_is_an_error() {
        let run = |measure| {
            let topic: Topic = Topic {
                rows: &ROWS,
                measure,
            };
            topic.run(&setting(&[])).map_err(|error| error.to_string())
        };
        let whole = run(|_| Ok(ROWS.map(|id| operation(id, vec![2.0])).into()));
        assert_eq!(whole.unwrap().len(), 2);
        let missing = run(|_| Ok(vec![operation("one", vec![2.0])]));
        assert!(missing.unwrap_err().contains("one/memory"));
        let empty = run(|_| Ok(ROWS.map(|id| operation(id, Vec::new())).into()));
        assert!(empty.unwrap_err().contains("one: ours has no value"));
        let unheld = run(|_| {
            let mut operations = ROWS.map(|id| operation(id, vec![2.0]));
            operations[1].bars[0].limit = Limit::RatioAtMost(1.0, FLOOR);
            Ok(operations.into())
        });
        assert!(unheld.unwrap_err().contains("one/memory: the bar of ours"));
    }

    #[test]
    fn rows_of_one_measurement_are_chosen_together() {
        for chosen in ROWS {
            let setting = setting(&[chosen]);
            assert!(setting.wants("one") && setting.wants("one/memory"));
            assert!(!setting.wants("other") && !setting.wants("one-more"));
        }
    }

    #[test]
    fn what_names_no_row_is_refused() {
        let known = || ROWS.into_iter();
        assert_eq!(check_ids(&setting(&["one"]), known()), Ok(()));
        let refused = check_ids(&setting(&["one", "two"]), known()).unwrap_err();
        assert!(refused.contains("'two'") && refused.contains("one/memory"));
    }
}
