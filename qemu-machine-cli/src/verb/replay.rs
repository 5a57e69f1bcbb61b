//! `replay`: a monitor's transcript, for people.

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Prints a transcript (run --transcript): the time, the direction, the message.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  qemu-machine run --transcript qmp.jsonl && qemu-machine replay qmp.jsonl"
)]
pub(crate) struct Replay {
    /// The transcript
    #[arg(value_name = "TRANSCRIPT")]
    path: PathBuf,

    /// Prints only the events
    #[arg(long)]
    events: bool,

    /// Prints each message as JSON
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let text = std::fs::read_to_string(&self.path);
        let text = text.map_err(|error| Failure::file("read", &self.path, &error))?;
        for (number, line) in text.lines().enumerate() {
            let entry = Entry::read(line).ok_or_else(|| {
                let (path, number) = (self.path.display(), number + 1);
                Failure::failed(format!("{path}:{number}: this is no line of a transcript"))
            })?;
            if !self.events || entry.is_event() {
                output::print(&entry, self.json)?;
            }
        }
        Ok(Outcome::Succeeded)
    }
}

/// A message of a transcript; each line has one.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Entry {
    /// When it was, in seconds since the connection began.
    pub(super) seconds: f64,
    pub(super) direction: Direction,
    /// The message; a string if it is not JSON.
    message: Value,
    #[serde(skip)]
    pub(super) text: String,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub(super) enum Direction {
    /// From QEMU.
    Received,
    /// To QEMU.
    Sent,
}

impl Entry {
    pub(super) fn read(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        let text = line.get("bytes")?.as_str()?.trim_end();
        Some(Self {
            seconds: line.get("at")?.as_f64()?,
            direction: match line.get("dir")?.as_str()? {
                "<" => Direction::Received,
                ">" => Direction::Sent,
                _ => return None,
            },
            message: serde_json::from_str(text).unwrap_or_else(|_| text.into()),
            text: text.to_owned(),
        })
    }

    fn is_event(&self) -> bool {
        self.message.get("event").is_some()
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let direction = match self.direction {
            Direction::Received => '<',
            Direction::Sent => '>',
        };
        write!(f, "{:>12.6} {direction} {}", self.seconds, self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_shown() {
        let line = r#"{"at":0.25,"bytes":"{\"event\":\"STOP\"}\r\n","dir":"<"}"#;
        let entry = Entry::read(line).unwrap();
        assert!(entry.is_event());
        assert_eq!(entry.to_string(), "    0.250000 < {\"event\":\"STOP\"}");
        let json = serde_json::to_value(&entry).unwrap();
        assert_eq!(json["message"]["event"], "STOP");
        assert_eq!(json["direction"], "received");
        assert!(Entry::read("{}").is_none());
    }
}
