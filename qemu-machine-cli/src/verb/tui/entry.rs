//! One message of the monitor's, as the list has it. Pure.

use std::collections::HashMap;

use serde_json::Value;

/// A message, or a note about what is missing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Since the beginning of the traffic.
    pub(super) seconds: f64,
    pub(super) kind: Kind,
    /// The command's or the event's name. A reply has that of its command.
    pub(super) name: String,
    /// The beginning of the rest, for the list.
    pub(super) summary: String,
    /// The line as it was on the wire.
    pub(super) line: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Command,
    Reply,
    Error,
    Event,
    /// No message: this program says it.
    Note,
    /// A message of another form.
    Other,
}

impl Kind {
    pub(super) const NAMES: [(&'static str, Self); 5] = [
        ("command", Self::Command),
        ("reply", Self::Reply),
        ("error", Self::Error),
        ("event", Self::Event),
        ("note", Self::Note),
    ];

    /// The direction, as transcripts have it.
    pub(super) fn sign(self) -> char {
        match self {
            Self::Command => '>',
            Self::Note => ' ',
            _ => '<',
        }
    }
}

impl Entry {
    /// Something that this program has to say.
    pub(super) fn note(seconds: f64, text: &str) -> Self {
        Self {
            seconds,
            kind: Kind::Note,
            name: text.to_owned(),
            summary: String::new(),
            line: String::new(),
        }
    }

    /// What it costs to keep.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.name.len() + self.summary.len() + self.line.len()
    }
}

/// Reads messages, and remembers the commands that have no reply yet.
#[derive(Debug, Default)]
pub(super) struct Reader {
    unanswered: HashMap<String, String>,
}

/// A server that never answers must cost no more than this.
const MOST_UNANSWERED: usize = 10_000;

impl Reader {
    pub(super) fn read(&mut self, seconds: f64, is_sent: bool, line: String) -> Entry {
        let message: Value = serde_json::from_str(&line).unwrap_or_default();
        let id = message.get("id").map(Value::to_string);
        let text = |key: &str| message.get(key).and_then(Value::as_str).map(str::to_owned);
        let command = || text("execute").or_else(|| text("exec-oob"));
        let (kind, name) = if is_sent {
            let name = command().unwrap_or_default();
            if let Some(id) = id
                && self.unanswered.len() < MOST_UNANSWERED
            {
                self.unanswered.insert(id, name.clone());
            }
            (Kind::Command, name)
        } else if let Some(name) = text("event") {
            (Kind::Event, name)
        } else {
            let kind = match (message.get("return"), message.get("error")) {
                (Some(_), _) => Kind::Reply,
                (_, Some(_)) => Kind::Error,
                _ => Kind::Other,
            };
            let name = id.and_then(|id| self.unanswered.remove(&id));
            let greeting = message.get("QMP").map(|_| "greeting".to_owned());
            (kind, name.or(greeting).unwrap_or_default())
        };
        Entry {
            seconds,
            kind,
            name,
            summary: summary(kind, &message, &line),
            line,
        }
    }
}

/// What a message says, beside its name.
fn summary(kind: Kind, message: &Value, line: &str) -> String {
    let part = |key: &str| message.get(key).map(Value::to_string).unwrap_or_default();
    let said = match kind {
        Kind::Command => part("arguments"),
        Kind::Reply => part("return"),
        Kind::Event => part("data"),
        Kind::Error => match message["error"]["desc"].as_str() {
            Some(desc) => desc.to_owned(),
            None => part("error"),
        },
        Kind::Note | Kind::Other => line.to_owned(),
    };
    said.chars().take(SUMMARY).collect()
}

/// Wider than a terminal.
const SUMMARY: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_the_name_of_its_command() {
        let mut reader = Reader::default();
        let table = [
            (r#"{"QMP": {}}"#, Kind::Other, "greeting"),
            (r#"{"execute": "stop", "id": 1}"#, Kind::Command, "stop"),
            (r#"{"exec-oob": "x", "id": "a"}"#, Kind::Command, "x"),
            (r#"{"event": "STOP", "data": {}}"#, Kind::Event, "STOP"),
            (r#"{"return": {}, "id": 1}"#, Kind::Reply, "stop"),
            (r#"{"error": {}, "id": "a"}"#, Kind::Error, "x"),
            (r#"{"return": {}, "id": 1}"#, Kind::Reply, ""),
            ("[]", Kind::Other, ""),
            ("no JSON", Kind::Other, ""),
        ];
        for (line, kind, name) in table {
            let entry = reader.read(0.5, kind == Kind::Command, line.to_owned());
            assert_eq!((entry.kind, &*entry.name), (kind, name), "{line}");
            assert_eq!((entry.seconds, &*entry.line), (0.5, line));
        }
    }

    #[test]
    fn a_summary_has_what_the_message_says() {
        let table = [
            (r#"{"execute": "a", "arguments": {"b": 1}}"#, r#"{"b":1}"#),
            (r#"{"execute": "a"}"#, ""),
            (r#"{"return": [1]}"#, "[1]"),
            (r#"{"event": "A", "data": {}}"#, "{}"),
            (r#"{"error": {"desc": "no"}}"#, "no"),
            ("[1", "[1"),
        ];
        for (line, summary) in table {
            let entry = Reader::default().read(0.0, line.contains("execute"), line.to_owned());
            assert_eq!(entry.summary, summary, "{line}");
        }
    }

    #[test]
    fn commands_that_nobody_answers_are_not_remembered_without_end() {
        let mut reader = Reader::default();
        for id in 0..=MOST_UNANSWERED {
            reader.read(0.0, true, format!(r#"{{"execute": "x", "id": {id}}}"#));
        }
        assert_eq!(reader.unanswered.len(), MOST_UNANSWERED);
    }
}
