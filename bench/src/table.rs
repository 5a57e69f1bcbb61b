//! Results as text for the terminal.

use std::fmt::{self, Display};

use crate::curve::Curve;
use crate::operation::{Limit, Operation, Unit};

/// One operation: a line for each contender and each bar.
pub(crate) struct Table<'a>(pub(crate) &'a Operation);

/// One curve: a line for each size and each bar.
pub(crate) struct GrowthTable<'a>(pub(crate) &'a Curve);

/// A value with a unit of a suitable size.
pub(crate) struct Value(pub(crate) f64, pub(crate) Unit);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Operation {
            id,
            name,
            about: _,
            unit,
            contenders,
            bars,
        } = self.0;
        writeln!(f, "{name} ({id})")?;
        for contender in contenders {
            let spread = contender.spread();
            let value = |value| Value(value, *unit).to_string();
            write!(
                f,
                "  {:<26} {:>12}  ({} to {})",
                contender.who,
                value(spread.median),
                value(spread.least),
                value(spread.most),
            )?;
            match self.0.floor_of(contender.who) {
                Some(floor) => {
                    let ratio = self.0.ratios(contender.who, floor);
                    writeln!(f, "  {:.3} of {floor}", ratio.median)?;
                }
                None => writeln!(f)?,
            }
        }
        for bar in bars {
            let outcome = if self.0.meets(bar) { "met" } else { "NOT MET" };
            let reached = self.0.reached(bar);
            write!(f, "  {}: ", bar.who)?;
            match bar.limit {
                Limit::RatioAtMost(limit, to) => {
                    writeln!(f, "{reached:.3} of {to}, at most {limit}: {outcome}")?;
                }
                Limit::RatioAtLeast(limit, to) => {
                    writeln!(f, "{reached:.3} of {to}, at least {limit}: {outcome}")?;
                }
                Limit::AtMost(limit) => {
                    let (reached, limit) = (Value(reached, *unit), Value(limit, *unit));
                    writeln!(f, "{reached}, at most {limit}: {outcome}")?;
                }
            }
        }
        Ok(())
    }
}

impl Display for GrowthTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let curve = self.0;
        writeln!(f, "{} ({})", curve.name, curve.id)?;
        for line in &curve.lines {
            write!(f, "  {:<26}", line.who)?;
            for (size, value) in line.medians() {
                let (size, value) = (Value(size, curve.sizes), Value(value, curve.unit));
                write!(f, "  {size}: {value}")?;
            }
            writeln!(f, "  slope {:+.2}", line.slope())?;
        }
        for bar in &curve.bars {
            let outcome = if curve.meets(bar) { "met" } else { "NOT MET" };
            writeln!(f, "  {}: {outcome}", curve.told(bar))?;
        }
        Ok(())
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value, unit) = *self;
        let (steps, names): (f64, &[&str]) = match unit {
            Unit::Seconds => {
                return match value.abs() {
                    small if small < 1e-6 => write!(f, "{:.1} ns", value * 1e9),
                    small if small < 1e-3 => write!(f, "{:.2} µs", value * 1e6),
                    small if small < 1.0 => write!(f, "{:.2} ms", value * 1e3),
                    _ => write!(f, "{value:.2} s"),
                };
            }
            Unit::Count => return write!(f, "{value}"),
            Unit::Bytes => (1024.0, &["B", "KiB", "MiB", "GiB"]),
            Unit::BytesPerSecond => (1000.0, &["B/s", "kB/s", "MB/s", "GB/s"]),
        };
        let mut value = value;
        let mut names = names.iter();
        let mut name = names.next().unwrap_or(&"");
        while value.abs() >= steps
            && let Some(next) = names.next()
        {
            value /= steps;
            name = next;
        }
        write!(f, "{value:.1} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_a_unit_of_a_size_that_suits_it() {
        let text = |value, unit| Value(value, unit).to_string();
        assert_eq!(text(0.000_012_3, Unit::Seconds), "12.30 µs");
        assert_eq!(text(1.5, Unit::Seconds), "1.50 s");
        assert_eq!(text(131_072.0, Unit::Bytes), "128.0 KiB");
        assert_eq!(text(2.5e9, Unit::BytesPerSecond), "2.5 GB/s");
        assert_eq!(text(35.0, Unit::Count), "35");
    }
}
