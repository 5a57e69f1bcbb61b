//! A recorded session to replay: JSON lines, each with the direction (`<` from
//! the server, `>` to it) and the bytes.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

/// A line of a recorded session.
#[derive(Debug, PartialEq)]
pub(crate) enum Entry {
    /// A line of the server, and its id as it was written.
    Said { line: Vec<u8>, id: Option<String> },
    /// A line to the server without its id, and the id.
    Heard { command: Value, id: Option<String> },
}

/// Reads a whole transcript.
pub(crate) fn parse(text: &str) -> Result<Vec<Entry>, String> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| entry(line).map_err(|why| format!("{why}: {line}")))
        .collect()
}

fn entry(line: &str) -> Result<Entry, String> {
    let entry: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let bytes = entry["bytes"].as_str().ok_or("no `bytes`")?;
    match entry["dir"].as_str() {
        Some("<") => Ok(Entry::Said {
            line: bytes.into(),
            id: id(bytes),
        }),
        Some(">") => Ok(Entry::Heard {
            command: command(bytes.as_bytes())?,
            id: id(bytes),
        }),
        _ => Err("no `dir` that is `<` or `>`".to_owned()),
    }
}

/// A command without its id.
pub(crate) fn command(line: &[u8]) -> Result<Value, String> {
    let mut command: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    if let Some(members) = command.as_object_mut() {
        members.remove("id");
    }
    Ok(command)
}

/// The id of a message as it was written.
pub(crate) fn id(line: &str) -> Option<String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(line).ok()?;
    members.get("id").map(|id| id.get().to_owned())
}

/// The line with another id.
pub(crate) fn with_id(line: &[u8], recorded: &str, now: &str) -> Vec<u8> {
    let line = String::from_utf8_lossy(line);
    let written = format!(r#""id": {recorded}"#);
    // QEMU writes it first in an error, and last in a return.
    let place = if line.starts_with(r#"{"return""#) {
        line.rfind(&written)
    } else {
        line.find(&written)
    };
    let Some(place) = place else {
        return line.into_owned().into();
    };
    let (before, rest) = line.split_at(place);
    let after = &rest[written.len()..];
    format!(r#"{before}"id": {now}{after}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_replaced_where_qemu_puts_it_and_nowhere_else() {
        for (line, replaced) in [
            (
                r#"{"return": {"id": 1}, "id": 1}"#,
                r#"{"return": {"id": 1}, "id": "b"}"#,
            ),
            (
                r#"{"id": 1, "error": {"desc": "\"id\": 1"}}"#,
                r#"{"id": "b", "error": {"desc": "\"id\": 1"}}"#,
            ),
        ] {
            let now = with_id(line.as_bytes(), &id(line).unwrap(), "\"b\"");
            assert_eq!(String::from_utf8(now).unwrap(), replaced);
        }
    }

    #[test]
    fn a_line_that_is_no_entry_is_shown() {
        let text = "{\"dir\": \">\", \"at\": 0.1, \"bytes\": \"{\\\"execute\\\": \\\"a\\\", \\\"id\\\": 7}\\n\"}\n";
        let heard = Entry::Heard {
            command: serde_json::json!({"execute": "a"}),
            id: Some("7".to_owned()),
        };
        assert_eq!(parse(text), Ok(vec![heard]));
        for bad in ["x", "{}", r#"{"dir": "=", "bytes": ""}"#] {
            assert!(parse(bad).unwrap_err().contains(bad));
        }
    }
}
