//! `replay`: a monitor's transcript, for people.

use std::path::PathBuf;

use clap::Args;
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
}

impl Replay {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let text = std::fs::read_to_string(&self.path);
        let text = text.map_err(|error| Failure::file("read", &self.path, &error))?;
        let mut shown = String::new();
        for (number, line) in text.lines().enumerate() {
            let entry = Entry::read(line).ok_or_else(|| {
                let (path, number) = (self.path.display(), number + 1);
                Failure::failed(format!("{path}:{number}: this is no line of a transcript"))
            })?;
            if !self.events || entry.is_event() {
                shown += &entry.shown();
            }
        }
        output::write(shown.as_bytes())?;
        Ok(Outcome::Succeeded)
    }
}

/// One message.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) direction: String,
    pub(super) seconds: f64,
    pub(super) message: String,
}

impl Entry {
    pub(super) fn read(line: &str) -> Option<Self> {
        let line: Value = serde_json::from_str(line).ok()?;
        Some(Self {
            direction: line.get("dir")?.as_str()?.to_owned(),
            seconds: line.get("at")?.as_f64()?,
            message: line.get("bytes")?.as_str()?.trim_end().to_owned(),
        })
    }

    fn is_event(&self) -> bool {
        let message: Option<Value> = serde_json::from_str(&self.message).ok();
        message.is_some_and(|it| it.get("event").is_some())
    }

    fn shown(&self) -> String {
        let Self {
            direction,
            seconds,
            message,
        } = self;
        format!("{seconds:>12.6} {direction} {message}\n")
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
        assert_eq!(entry.shown(), "    0.250000 < {\"event\":\"STOP\"}\n");
        assert!(Entry::read("{}").is_none());
    }
}
