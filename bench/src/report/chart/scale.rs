//! Pure: a logarithmic axis, its range and its marks. Its coordinates are decimal
//! logarithms.

use std::ops::Range;

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;

use crate::operation::Unit;
use crate::table::Value;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scale {
    pub(super) range: Range<f64>,
    pub(super) marks: Vec<f64>,
}

impl Scale {
    /// An axis with a mark at each of these values.
    pub(super) fn marked_at(values: &[f64]) -> Self {
        let mut marks: Vec<f64> = values.iter().map(|value| value.log10()).collect();
        marks.sort_by(f64::total_cmp);
        marks.dedup();
        let (first, last) = ends(&marks);
        let margin = ((last - first) * 0.04).max(0.05);
        Self {
            range: first - margin..last + margin,
            marks,
        }
    }

    /// An axis of rows, the first at the top.
    pub(super) fn of_lines(count: usize) -> Self {
        let marks: Vec<f64> = (1..=count).map(|line| -place(line)).collect();
        Self {
            range: -place(count) - 0.6..-0.4,
            marks,
        }
    }

    /// The row at this coordinate, counted from 0.
    pub(super) fn line_at(&self, coordinate: f64) -> Option<usize> {
        let marks = &mut self.marks.iter();
        marks.position(|mark| mark.total_cmp(&coordinate).is_eq())
    }

    /// Wide enough for all values, and at least `decades`, so that small changes look
    /// small. An axis of few decades also has marks at 2 and 5.
    pub(super) fn of_decades(values: &[f64], decades: f64) -> Self {
        let logarithms: Vec<f64> = values
            .iter()
            .filter(|&&value| value > 0.0)
            .map(|value| value.log10())
            .collect();
        let (least, most) = ends(&logarithms);
        let missing = (decades - (most - least)).max(0.2) / 2.0;
        let range = least - missing..most + missing;
        let mut marks = Vec::new();
        let steps: &[f64] = if range.end - range.start > 3.0 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let mut decade = range.start.floor();
        while decade <= range.end {
            let within = steps.iter().map(|step| decade + step.log10());
            marks.extend(within.filter(|mark| range.contains(mark)));
            decade += 1.0;
        }
        Self { range, marks }
    }
}

impl Ranged for Scale {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        RangedCoordf64::from(self.range.clone()).map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        // No small marks between the marks.
        if hint.weight().allow_light_points() {
            return Vec::new();
        }
        self.marks.clone()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

/// The value at a mark, as short as possible.
pub(super) fn label(mark: f64, unit: Unit) -> String {
    // The logarithm may have cost the last digits.
    let value = 10_f64.powf(mark);
    let text = match unit {
        Unit::Count => return format!("{value:.0}"),
        unit => Value(value, unit).to_string(),
    };
    match text.split_once(' ') {
        Some((number, name)) if number.contains('.') => {
            format!(
                "{} {name}",
                number.trim_end_matches('0').trim_end_matches('.')
            )
        }
        _ => text,
    }
}

/// The coordinate of a row, counted from 1; exact below 65,536.
fn place(line: usize) -> f64 {
    f64::from(u16::try_from(line).unwrap_or(u16::MAX))
}

/// The minimum and maximum; 0 and 1 if there are no values.
fn ends(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().reduce(f64::min).unwrap_or(0.0);
    let most = values.iter().copied().reduce(f64::max).unwrap_or(1.0);
    (least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_hardly_changes_gets_a_scale_on_which_it_looks_so() {
        let scale = Scale::of_decades(&[1.0, 1.1], 2.0);
        assert!((scale.range.end - scale.range.start - 2.0).abs() < 1e-9);
        let labels: Vec<_> = scale
            .marks
            .iter()
            .map(|&at| label(at, Unit::Seconds))
            .collect();
        assert_eq!(labels, ["200 ms", "500 ms", "1 s", "2 s", "5 s", "10 s"]);
    }

    #[test]
    fn marks_stand_where_they_are_wanted_and_say_their_unit() {
        let scale = Scale::marked_at(&[1024.0, 65536.0, 1024.0]);
        let labels: Vec<_> = scale
            .marks
            .iter()
            .map(|&at| label(at, Unit::Bytes))
            .collect();
        assert_eq!(labels, ["1 KiB", "64 KiB"]);
        assert_eq!(label(3.0, Unit::Count), "1000");
    }
}
