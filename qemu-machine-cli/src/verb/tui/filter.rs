//! Which messages are shown. Pure.

use qemu_machine::qmp::EventPattern;

use super::entry::{Entry, Kind};
use super::words::split;
use crate::verb::events::pattern;

/// Any of some parts; all messages, if there are none.
#[derive(Debug, Default)]
pub(super) struct Filter {
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    /// All of a kind.
    Kind(Kind),
    /// A command with its reply, or an event, by the name.
    Name(String),
    /// Events by their name and data.
    Events(EventPattern),
}

impl Filter {
    /// Reads kinds, names, and patterns of events, with blanks between them.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let parts = split(text).into_iter().map(|word| {
            let kind = Kind::NAMES.iter().find(|(name, _)| *name == word);
            match kind {
                Some((_, kind)) => Ok(Part::Kind(*kind)),
                None if word.contains('{') => pattern(&word).map(Part::Events),
                None => pattern(&word).map(|_| Part::Name(word)),
            }
        });
        Ok(Self {
            parts: parts.collect::<Result<_, String>>()?,
        })
    }

    pub(super) fn matches(&self, entry: &Entry) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|part| part.matches(entry))
    }
}

impl Part {
    fn matches(&self, entry: &Entry) -> bool {
        match self {
            Self::Kind(kind) => entry.kind == *kind,
            Self::Name(name) => entry.name == *name,
            Self::Events(pattern) => {
                let message = || serde_json::from_str(&entry.line).unwrap_or_default();
                entry.kind == Kind::Event && pattern.matches_json(&message())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Reader;
    use super::*;

    #[test]
    fn messages_are_chosen_by_kind_by_name_and_by_pattern() {
        let mut reader = Reader::default();
        let lines = [
            r#"{"execute": "stop", "id": 1}"#,
            r#"{"return": {}, "id": 1}"#,
            r#"{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}"#,
            r#"{"event": "JOB", "data": {"id": "a", "n": 1}}"#,
            r#"{"error": {"class": "GenericError", "desc": "x"}}"#,
        ];
        let entries = lines.map(|line| reader.read(0.0, line.contains("execute"), line.to_owned()));
        let table: [(&str, &[usize]); 8] = [
            ("", &[0, 1, 2, 3, 4]),
            ("event", &[2, 3]),
            ("stop", &[0, 1]),
            ("STOP error", &[2, 4]),
            (r#"JOB{"id": "a"}"#, &[3]),
            (r#"JOB{"id": "b"}"#, &[]),
            ("command reply", &[0, 1]),
            ("nonesuch", &[]),
        ];
        for (text, expected) in table {
            let filter = Filter::read(text).unwrap();
            let matching = entries
                .iter()
                .enumerate()
                .filter(|(_, it)| filter.matches(it));
            let matching: Vec<usize> = matching.map(|(place, _)| place).collect();
            assert_eq!(matching, expected, "{text}");
        }
        for text in ["A*", "JOB{id}", "{}"] {
            assert!(Filter::read(text).is_err(), "{text}");
        }
    }
}
