//! `events`: what happens in a QEMU that runs, as it happens.

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use qemu_machine::Wait;
use qemu_machine::error::EventError;
use qemu_machine::qmp::command::QuerySchema;
use qemu_machine::qmp::{Client, Event, EventPattern};
use serde::Serialize;
use serde_json::Value;

use super::qmp::{Server, failed};
use crate::config::nearest;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{duration, output};

/// Prints the events of a QEMU, one in each line, until QEMU ends.
///
/// A pattern is an event's name, or a name and the data that it must have, as
/// JSON. Without patterns, all events are printed. A name that this QEMU has no
/// event for is refused. A note on standard error says
/// when the listening has begun.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Events {
    #[command(flatten)]
    server: Server,

    /// Which events; any of these
    #[arg(value_name = "PATTERN", value_parser = pattern)]
    patterns: Vec<EventPattern>,

    /// Ends after this many events; fails if QEMU ends before
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,

    /// Ends after this time, with status 124
    #[arg(long = "for", value_name = "TIME", value_parser = duration::parse)]
    time: Option<Duration>,

    /// Prints each event as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine events qmp.sock
  qemu-machine events qmp.sock SHUTDOWN RESET --count 1 --for 60
  qemu-machine events qmp.sock 'JOB_STATUS_CHANGE{\"status\":\"concluded\"}'";

/// Reads `NAME` or `NAME{…}`.
pub(super) fn pattern(text: &str) -> Result<EventPattern, String> {
    let (name, data) = text.split_at(text.find('{').unwrap_or(text.len()));
    let is_name = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '-' || it == '.';
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(format!("'{name}' is no name of an event"));
    }
    let data = if data.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(data).map_err(|error| format!("{data} is no JSON: {error}"))?
    };
    Ok(EventPattern::new(name, data))
}

impl Events {
    pub(crate) fn run(mut self) -> Result<Outcome, Failure> {
        let ends_at = self.time.map(|time| Instant::now() + time);
        let limit = self.server.timeout;
        self.server.timeout = self.time.map_or(limit, |time| time.min(limit));
        let monitor = self.server.connect()?;
        check(&monitor, &self.patterns, self.server.timeout)?;
        let mut events = if self.patterns.is_empty() {
            monitor.events()
        } else {
            monitor.events_matching(self.patterns)
        };
        // A script that causes the events waits for this note.
        output::note(format_args!("listening to the {}", monitor.server()));
        let mut left = self.count;
        while left != Some(0) {
            let time = ends_at.map(|end| time_until(end, Instant::now()));
            match events.next().timeout(time).wait() {
                Ok(event) => output::print(&Output::from(&event), self.json)?,
                Err(error @ EventError::Lagged { .. }) => {
                    output::note(error);
                    continue;
                }
                Err(EventError::Ended { .. }) if left.is_none() => break,
                Err(error) => return Err(failed(error)),
            }
            left = left.map(|left| left - 1);
        }
        Ok(Outcome::Succeeded)
    }
}

/// Fails if this QEMU has no event of such a name: nobody should wait for it.
fn check(monitor: &Client, patterns: &[EventPattern], limit: Duration) -> Result<(), Failure> {
    if patterns.is_empty() {
        return Ok(());
    }
    let schema = match monitor.execute(QuerySchema).timeout(limit).wait() {
        Ok(schema) => schema,
        // A QEMU without a schema.
        Err(error) if error.reply().is_some() => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let known: Vec<&str> = schema.events().map(|event| event.name()).collect();
    let mut names = patterns.iter().map(EventPattern::name);
    match names.find(|name| !known.contains(name)) {
        Some(name) if !known.is_empty() => Err(Failure::failed(unknown(name, &known))),
        _ => Ok(()),
    }
}

/// The message about a name that no event has.
fn unknown(name: &str, known: &[&str]) -> String {
    let upper = name.to_ascii_uppercase();
    match nearest(&upper, known.iter().copied()) {
        Some(near) => format!("there is no event '{name}'; did you mean '{near}'?"),
        None => format!("there is no event '{name}'; `qemu-machine schema` lists them"),
    }
}

/// An event of a QEMU; each line has one.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Output {
    /// Its name.
    event: String,
    /// What QEMU says about it; null if nothing.
    data: Value,
    /// When it was, in seconds since 1970, by the clock of QEMU's host; null if
    /// QEMU does not know.
    seconds: Option<f64>,
    #[serde(skip)]
    text: String,
}

impl From<&Event> for Output {
    fn from(event: &Event) -> Self {
        Self {
            event: event.name().to_owned(),
            data: event.data().unwrap_or_default(),
            seconds: event.timestamp().and_then(seconds),
            text: event.to_string(),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.seconds {
            Some(seconds) => write!(f, "{seconds:.6} {}", self.text),
            None => write!(f, "- {}", self.text),
        }
    }
}

/// The time until then, in whole milliseconds: a message shows it.
fn time_until(end: Instant, now: Instant) -> Duration {
    let left = end.saturating_duration_since(now);
    Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
}

/// Seconds since 1970.
fn seconds(time: SystemTime) -> Option<f64> {
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_time_that_is_left_has_no_microseconds() {
        let now = Instant::now();
        let left = |time: Duration| time_until(now + time, now);
        assert_eq!(
            left(Duration::from_micros(299_077)),
            Duration::from_millis(299)
        );
        assert_eq!(
            time_until(now, now + Duration::from_secs(1)),
            Duration::ZERO
        );
    }

    #[test]
    fn a_misspelt_event_is_told_with_the_nearest_one() {
        let known = ["SHUTDOWN", "STOP", "RESET"];
        for (name, expected) in [
            ("SHUTDWN", "did you mean 'SHUTDOWN'?"),
            ("stop", "did you mean 'STOP'?"),
            ("NONESUCH", "`qemu-machine schema` lists them"),
        ] {
            assert!(unknown(name, &known).ends_with(expected), "{name}");
        }
    }

    #[test]
    fn a_pattern_is_a_name_with_or_without_data() {
        assert_eq!(pattern("STOP"), Ok("STOP".into()));
        let expected = EventPattern::new("JOB", json!({"id": "a"}));
        assert_eq!(pattern(r#"JOB{"id":"a"}"#), Ok(expected));
        for text in ["", "{}", "A B", "JOB{id}"] {
            assert!(pattern(text).is_err(), "{text}");
        }
    }
}
