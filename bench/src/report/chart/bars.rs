//! A chart of what was reached of each bar's limit.

use plotters::prelude::*;

use super::scale::Scale;
use super::{INK, SERIES, draw, styled};
use crate::Failure;
use crate::operation::{Bar, Operation};

/// A row for each operation with bars, and a point for each bar at its share of
/// the limit. A bar is met up to 1.
pub(crate) fn bars(operations: &[Operation]) -> Result<String, Failure> {
    let rows: Vec<&Operation> = operations
        .iter()
        .filter(|operation| !operation.bars.is_empty())
        .collect();
    let lines = Scale::of_lines(rows.len());
    let height = 90 + 24 * u32::try_from(rows.len())?;
    draw((760, height), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_right(24)
            .x_label_area_size(52)
            .y_label_area_size(180)
            .build_cartesian_2d(0.0..MOST + 0.05, lines.clone())?;
        styled(&mut chart.configure_mesh())
            .x_desc("share of the bar's limit (met up to 1; the edge is 2 and more)")
            .x_labels(9)
            .y_labels(rows.len())
            .y_label_formatter(&|at| {
                let row = lines.line_at(*at).and_then(|line| rows.get(line));
                row.map_or_else(String::new, |operation| operation.id.to_owned())
            })
            .draw()?;
        let limit = [(1.0, lines.range.start), (1.0, lines.range.end)];
        chart.draw_series(LineSeries::new(limit, INK.light.stroke_width(2)))?;
        for (&line, operation) in lines.marks.iter().zip(&rows) {
            for bar in &operation.bars {
                let is_met = operation.meets(bar);
                let colour = if is_met { MET } else { NOT_MET };
                let point = (share(operation, bar), line);
                chart.draw_series([Circle::new(point, 5, colour.light.filled())])?;
            }
        }
        Ok(())
    })
}

/// What was reached as a share of the limit, cut where the chart ends.
fn share(operation: &Operation, bar: &Bar) -> f64 {
    let share = operation.share(bar);
    // A limit of 0 that is met has no share.
    let share = if share.is_nan() { 0.0 } else { share };
    share.min(MOST)
}

const MOST: f64 = 2.0;
const MET: super::Colour = SERIES[2];
const NOT_MET: super::Colour = SERIES[4];
