//! A chart of a cost by a growing number or size.

use plotters::prelude::*;

use super::scale::{Scale, label};
use super::{Colour, FAINT, INK, SERIES, draw, styled, text_style};
use crate::Failure;
use crate::curve::{Curve, Line, SlopeBar};

/// Both axes are logarithmic, so a straight line is a power. It is level if the
/// cost does not grow. The dashes show the steepest allowed line.
pub(crate) fn growth(curve: &Curve) -> Result<String, Failure> {
    let points = || curve.lines.iter().flat_map(Line::medians);
    let sizes: Vec<f64> = points().map(|(size, _)| size).collect();
    let values: Vec<f64> = points().map(|(_, value)| value).collect();
    let across = Scale::marked_at(&sizes);
    let mut up = Scale::of_decades(&values, 2.0);
    // Space for the legend, one row for each line of ours.
    let lines: f64 = curve.lines.iter().map(|_| LEGEND_LINE).sum();
    up.range.end += (up.range.end - up.range.start) * lines;
    draw(SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_right(24)
            .x_label_area_size(52)
            .y_label_area_size(86)
            .build_cartesian_2d(across.clone(), up.clone())?;
        styled(&mut chart.configure_mesh())
            .x_desc(curve.grows)
            .x_labels(across.marks.len())
            .y_labels(up.marks.len())
            .x_label_formatter(&|at| label(*at, curve.sizes))
            .y_label_formatter(&|at| label(*at, curve.unit))
            .draw()?;
        for (line, &Colour { light: colour, .. }) in curve.lines.iter().zip(SERIES.iter().cycle()) {
            let points: Vec<(f64, f64)> = line
                .medians()
                .map(|(size, value)| (size.log10(), value.log10().max(up.range.start)))
                .collect();
            chart
                .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
                .label(format!("{}: slope {:+.2}", line.who, line.slope()))
                .legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2))
                });
            let dots = points.iter().map(|&at| Circle::new(at, 4, colour.filled()));
            chart.draw_series(dots)?;
            if let (Some(bar), Some(&last)) = (
                curve.bars.iter().find(|bar| bar.who == line.who),
                points.last(),
            ) {
                let start = f64::midpoint(across.marks[0], last.0);
                let steepest = [
                    (start, last.1 - (last.0 - start) * steepest(curve, bar)),
                    last,
                ];
                chart.draw_series(DashedLineSeries::new(
                    steepest,
                    4,
                    4,
                    colour.stroke_width(1),
                ))?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(super::PAPER.light)
            .border_style(FAINT.light)
            .label_font(text_style(15, INK))
            .margin(8)
            .draw()?;
        Ok(())
    })
}

/// The steepest allowed line.
fn steepest(curve: &Curve, bar: &SlopeBar) -> f64 {
    bar.at_most + bar.beside.map_or(0.0, |floor| curve.slope(floor))
}

/// The height of one row of the legend, as a share of the chart below it.
const LEGEND_LINE: f64 = 0.1;

const SIZE: (u32, u32) = (760, 400);
