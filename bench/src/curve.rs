//! How a result changes while something grows: machines, listeners, bytes.

use serde::Serialize;

use crate::operation::Unit;
use crate::spread::Spread;

/// One chart of the report.
#[derive(Debug, Serialize)]
pub(crate) struct Curve {
    /// Like the id of an [`Operation`](crate::operation::Operation).
    pub(crate) id: &'static str,
    pub(crate) name: String,
    /// A text for new readers, like the one of an operation.
    pub(crate) about: String,
    /// What grows (in the plural), and its unit.
    pub(crate) grows: &'static str,
    pub(crate) sizes: Unit,
    /// The unit of the values. A value is a cost per item, so it need not grow.
    pub(crate) unit: Unit,
    pub(crate) lines: Vec<Line>,
    pub(crate) bars: Vec<SlopeBar>,
}

/// One result at each size.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) who: &'static str,
    pub(crate) points: Vec<Point>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Point {
    pub(crate) size: f64,
    /// A value for each round.
    #[serde(serialize_with = "crate::spread::rounded")]
    pub(crate) values: Vec<f64>,
}

/// The largest allowed exponent.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct SlopeBar {
    pub(crate) who: &'static str,
    /// The line whose slope is the base; without it the base is 0.
    pub(crate) beside: Option<&'static str>,
    pub(crate) at_most: f64,
}

impl Curve {
    /// The power of the size with which this line's result grows; NaN if it was
    /// not measured.
    pub(crate) fn slope(&self, who: &str) -> f64 {
        let line = self.lines.iter().find(|line| line.who == who);
        line.map_or(f64::NAN, Line::slope)
    }

    pub(crate) fn meets(&self, bar: &SlopeBar) -> bool {
        self.reached(bar) <= bar.at_most
    }

    /// The value that `bar` compares.
    pub(crate) fn reached(&self, bar: &SlopeBar) -> f64 {
        self.slope(bar.who) - bar.beside.map_or(0.0, |floor| self.slope(floor))
    }

    /// The text of `bar` with its result.
    pub(crate) fn told(&self, bar: &SlopeBar) -> String {
        let (slope, at_most) = (self.slope(bar.who), bar.at_most);
        let beside = bar.beside.map_or_else(String::new, |floor| {
            format!(" above {:+.2} of {floor}", self.slope(floor))
        });
        format!(
            "{}: slope {slope:+.2}, at most {at_most:+.2}{beside}",
            bar.who
        )
    }

    /// Why the curve is invalid: a point without a value, or a bar for a line that
    /// does not exist.
    pub(crate) fn flaw(&self) -> Option<String> {
        let id = self.id;
        for Line { who, points } in &self.lines {
            let sound = |value: &f64| value.is_finite() && *value >= 0.0;
            let is_sound = |point: &Point| {
                point.size > 0.0 && !point.values.is_empty() && point.values.iter().all(sound)
            };
            if points.len() < 2 || !points.iter().all(is_sound) {
                return Some(format!("{id}: {who} has too few values, or invalid ones"));
            }
        }
        let unheld = self.bars.iter().find(|bar| self.reached(bar).is_nan());
        unheld.map(|bar| format!("{id}: the bar of {} is for what was not measured", bar.who))
    }
}

impl Line {
    /// The exponent that fits the larger half of the sizes best, by least squares of
    /// the medians' logarithms. At small sizes the fixed cost dominates, and would
    /// hide a growth.
    pub(crate) fn slope(&self) -> f64 {
        let sizes = self.points.iter().map(|point| point.size);
        let least = sizes.clone().fold(f64::INFINITY, f64::min);
        let most = sizes.fold(0.0, f64::max);
        let from = (least * most).sqrt();
        let large = self.points.iter().filter(|point| point.size >= from);
        let points: Vec<(f64, f64)> = large
            .map(|point| (point.size.ln(), point.median().max(LEAST).ln()))
            .collect();
        exponent(&points)
    }

    /// Size and median.
    pub(crate) fn medians(&self) -> impl Iterator<Item = (f64, f64)> {
        self.points.iter().map(|point| (point.size, point.median()))
    }
}

impl Point {
    pub(crate) fn median(&self) -> f64 {
        Spread::of(&self.values).median
    }
}

/// The slope of the line through these points. One point has none: zero.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (count, sum) =
            values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
        sum / count
    };
    let x_mean = mean(&mut points.iter().map(|point| point.0));
    let y_mean = mean(&mut points.iter().map(|point| point.1));
    let moment = |(x, y): &(f64, f64)| (x - x_mean) * (y - y_mean);
    let rise: f64 = points.iter().map(moment).sum();
    let run: f64 = points.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    match run {
        0.0 => 0.0,
        run => rise / run,
    }
}

/// Replaces 0, which has no logarithm.
const LEAST: f64 = 1e-12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::OURS;

    fn line(values: &[(f64, f64)]) -> Line {
        let point = |&(size, value)| Point {
            size,
            values: vec![value, value],
        };
        Line {
            who: OURS,
            points: values.iter().map(point).collect(),
        }
    }

    #[test]
    fn the_slope_is_that_of_the_larger_sizes() {
        let quadratic = line(&[(1.0, 50.0), (10.0, 50.0), (100.0, 1e4), (1000.0, 1e6)]);
        assert!((quadratic.slope() - 2.0).abs() < 1e-9);
        let flat = line(&[(1.0, 90.0), (30.0, 5.0), (100.0, 3.0), (1000.0, 3.0)]);
        assert!(flat.slope().abs() < 1e-9);
        let nothing = line(&[(1.0, 0.0), (10.0, 0.0), (100.0, 0.0)]);
        assert!(nothing.slope().abs() < 1e-9);
    }

    #[test]
    fn a_bar_that_nobody_was_measured_for_is_a_flaw() {
        let mut curve = Curve {
            id: "id",
            name: "a curve".into(),
            about: String::new(),
            grows: "machines",
            sizes: Unit::Count,
            unit: Unit::Seconds,
            lines: vec![line(&[(1.0, 1.0), (100.0, 10.0)])],
            bars: vec![SlopeBar {
                who: OURS,
                beside: None,
                at_most: 0.1,
            }],
        };
        assert_eq!(curve.flaw(), None);
        // One large size alone has no slope.
        assert!(curve.meets(&curve.bars[0]));
        curve.bars[0].who = "nobody";
        assert!(curve.flaw().unwrap().contains("nobody"));
        curve.lines[0].points[0].values.clear();
        assert!(curve.flaw().unwrap().contains("too few values"));
    }
}
