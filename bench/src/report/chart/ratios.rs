//! A chart of every contender's ratio to the floor.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::scale::Scale;
use super::{Colour, INK, Marker, SERIES, draw, styled, text_style};
use crate::Failure;
use crate::operation::{AWAIT, Measured, Operation, Role, Unit, WAIT};

/// A row for each operation with a floor, and a point for each contender at its
/// ratio to the floor.
pub(crate) fn ratios(operations: &[Operation]) -> Result<String, Failure> {
    let rows: Vec<(&str, Vec<(Kind, f64)>)> = operations.iter().filter_map(row).collect();
    let costs: Vec<f64> = rows
        .iter()
        .flat_map(|(_, row)| row)
        .map(|&(_, cost)| cost)
        .collect();
    let scale = Scale::of_decades(&[&costs[..], &[1.0]].concat(), 1.0);
    let mut kinds: Vec<Kind> = rows
        .iter()
        .flat_map(|(_, row)| row)
        .map(|(kind, _)| *kind)
        .collect();
    kinds.sort();
    kinds.dedup();
    let lines = Scale::of_lines(rows.len());
    let height = 110 + 30 * u32::try_from(rows.len())?;
    draw((760, height), |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_right(24)
            .x_label_area_size(52)
            .y_label_area_size(180)
            .margin_top(44)
            .build_cartesian_2d(scale.clone(), lines.clone())?;
        styled(&mut chart.configure_mesh())
            .x_desc("times the floor's cost (less is better)")
            .x_labels(scale.marks.len())
            .y_labels(rows.len())
            .x_label_formatter(&|at| format!("{}", (10_f64.powf(*at) * 100.0).round() / 100.0))
            .y_label_formatter(&|at| {
                let row = lines.line_at(*at).and_then(|line| rows.get(line));
                row.map_or_else(String::new, |(id, _)| (*id).to_owned())
            })
            .draw()?;
        let floor = [(0.0, lines.range.start), (0.0, lines.range.end)];
        chart.draw_series(LineSeries::new(floor, INK.light.stroke_width(2)))?;
        for (&line, (_, points)) in lines.marks.iter().zip(&rows) {
            for (kind, cost) in points {
                let at = (cost.log10(), line);
                let (marker, colour) = kind.look(&kinds);
                match marker {
                    Marker::Circle => {
                        chart.draw_series([Circle::new(at, 5, colour.light.filled())])?
                    }
                    Marker::Triangle => {
                        chart.draw_series([TriangleMarker::new(at, 6, colour.light.filled())])?
                    }
                    Marker::Cross => {
                        chart.draw_series([Cross::new(at, 5, colour.light.stroke_width(2))])?
                    }
                };
            }
        }
        legend(area, &kinds)
    })
}

/// The kinds of contenders, in the order of the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Wait,
    Await,
    OtherOfOurs,
    Peer(&'static str),
}

impl Kind {
    fn of(contender: &Measured) -> Option<Self> {
        match (contender.role(), contender.who) {
            (Role::Floor, _) => None,
            (Role::Ours, WAIT) => Some(Self::Wait),
            (Role::Ours, AWAIT) => Some(Self::Await),
            (Role::Ours, _) => Some(Self::OtherOfOurs),
            (Role::Peer, name) => Some(Self::Peer(name)),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Wait => "ours, .wait()",
            Self::Await => "ours, .await",
            Self::OtherOfOurs => "ours, otherwise",
            Self::Peer(name) => name,
        }
    }

    fn look(self, all: &[Self]) -> (Marker, Colour) {
        let place = all.iter().filter(|kind| matches!(kind, Self::Peer(_)));
        let place = place.take_while(|&&kind| kind != self).count();
        match self {
            Self::Wait => (Marker::Circle, SERIES[0]),
            Self::Await => (Marker::Triangle, SERIES[0]),
            Self::OtherOfOurs => (Marker::Circle, SERIES[2]),
            Self::Peer(_) => (Marker::Cross, PEERS[place % PEERS.len()]),
        }
    }
}

fn row(operation: &Operation) -> Option<(&str, Vec<(Kind, f64)>)> {
    if operation.contenders.first()?.role() != Role::Floor {
        return None;
    }
    let point = |contender: &Measured| {
        let floor = operation.floor_of(contender.who)?;
        let ratio = operation.ratios(contender.who, floor).median;
        let cost = match operation.unit {
            Unit::BytesPerSecond => 1.0 / ratio,
            Unit::Seconds | Unit::Bytes | Unit::Count => ratio,
        };
        let drawable = cost.is_finite() && cost > 0.0;
        Some((Kind::of(contender)?, cost)).filter(|_| drawable)
    };
    let points = operation.contenders.iter().filter_map(point).collect();
    Some((operation.id, points))
}

/// In a row above the chart.
fn legend(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    kinds: &[Kind],
) -> Result<(), Failure> {
    let style = text_style(15, INK).pos(Pos::new(HPos::Left, VPos::Center));
    let mut x = 24;
    for kind in kinds {
        let (marker, colour) = kind.look(kinds);
        let at = (x, 22);
        match marker {
            Marker::Circle => area.draw(&Circle::new(at, 5, colour.light.filled()))?,
            Marker::Triangle => area.draw(&TriangleMarker::new(at, 6, colour.light.filled()))?,
            Marker::Cross => area.draw(&Cross::new(at, 5, colour.light.stroke_width(2)))?,
        }
        area.draw(&Text::new(kind.name(), (x + 12, 22), style.clone()))?;
        x += 34 + 7 * i32::try_from(kind.name().len())?;
    }
    Ok(())
}

const PEERS: [Colour; 4] = [SERIES[1], SERIES[3], SERIES[4], SERIES[5]];
