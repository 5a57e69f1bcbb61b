//! Several values of one measurement.

/// The minimum, the quartiles and the maximum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) lower_quartile: f64,
    pub(crate) median: f64,
    pub(crate) upper_quartile: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Without values, each is NaN.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |quarters: usize| {
            let index = sorted.len().saturating_sub(1) * quarters / 4;
            sorted.get(index).copied().unwrap_or(f64::NAN)
        };
        Self {
            least: at(0),
            lower_quartile: at(1),
            median: at(2),
            upper_quartile: at(3),
            most: at(4),
        }
    }
}

/// Values for the JSON, with nine digits. Further digits are noise, and would not
/// be the same when read back.
pub(crate) fn rounded<S: serde::Serializer>(values: &[f64], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(values.iter().map(|value| {
        let rounded = format!("{value:.8e}").parse();
        rounded.unwrap_or(*value)
    }))
}
