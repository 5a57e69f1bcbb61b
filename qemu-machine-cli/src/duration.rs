//! A span of time, as an option takes it.

use std::time::Duration;

/// Reads `90`, `1.5`, `500ms`, `90s`, `5m` or `2h`; a number alone is seconds.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no span of time such as 90, 1.5s, 500ms, 5m or 2h");
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let unit = units
        .iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
    let (number, seconds) = unit.unwrap_or((text, 1.0));
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
    if time > LONGEST {
        return Err(format!("'{text}' is longer than a hundred years"));
    }
    Ok(time)
}

/// A clock that begins at the start of the host has room for its end.
const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read_with_and_without_a_unit() {
        let table = [
            ("90", 90_000),
            ("1.5", 1500),
            ("500ms", 500),
            ("2s", 2000),
            ("5m", 300_000),
            ("2h", 7_200_000),
        ];
        for (text, millis) in table {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["800000h", "3000000000"] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for text in ["900000h", "9223372036854775807", "1e300"] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["", "s", "-1", "soon", "1d", "inf", "nan"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
