//! Reads one line as one message of the protocol.
//!
//! It reads only the envelope. The values of the members stay borrowed raw JSON
//! until a caller reads them as a type. An unknown member, event, error class or
//! time is not an error (`docs/interop/qmp-spec`: clients must ignore unknown
//! information).

use std::fmt;

use serde_core::Deserialize;
use serde_core::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{ErrorReply, Event, Greeting, ProtocolError};

/// One message from the server.
#[derive(Debug)]
pub(super) enum Message<'a> {
    Greeting(Greeting),
    Return {
        value: &'a RawValue,
        id: Option<&'a RawValue>,
    },
    Error {
        error: ErrorReply,
        id: Option<&'a RawValue>,
    },
    Event(Event),
}

impl<'a> Message<'a> {
    pub(super) fn parse(line: &'a [u8]) -> Result<Self, ProtocolError> {
        let text = std::str::from_utf8(line).map_err(|error| not_json(line, &error))?;
        if !text.starts_with('{') {
            return Err(match serde_json::from_str::<&RawValue>(text) {
                Ok(_) => ProtocolError::NotAnObject {
                    line: excerpt(line),
                },
                Err(error) => not_json(line, &error),
            });
        }
        let envelope: Envelope<'a> = serde_json::from_str(text).map_err(|error| {
            if error.is_data() {
                malformed(line, &error)
            } else {
                not_json(line, &error)
            }
        })?;
        envelope
            .into_message()
            .map_err(|reason| malformed(line, &reason))
    }
}

/// The members that the protocol defines, as raw JSON.
#[derive(Default)]
struct Envelope<'a> {
    greeting: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
}

impl<'a> Envelope<'a> {
    fn into_message(self) -> Result<Message<'a>, String> {
        match self {
            Self {
                greeting: None,
                result: Some(value),
                error: None,
                event: None,
                id,
                ..
            } => Ok(Message::Return { value, id }),
            Self {
                greeting: None,
                result: None,
                error: Some(raw),
                event: None,
                id,
                ..
            } => Ok(Message::Error {
                error: ErrorReply::parse(raw)?,
                id,
            }),
            Self {
                greeting: None,
                result: None,
                error: None,
                event: Some(name),
                ..
            } => Event::from_members(name, self.data, self.timestamp).map(Message::Event),
            Self {
                greeting: Some(raw),
                result: None,
                error: None,
                event: None,
                ..
            } => Greeting::parse(raw).map(Message::Greeting),
            _ => Err("neither a greeting, a return, an error nor an event".to_owned()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

struct EnvelopeVisitor;

impl<'de> Visitor<'de> for EnvelopeVisitor {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a QMP message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(member) = map.next_key()? {
            let value: &'de RawValue = map.next_value()?;
            let place = match member {
                Member::Greeting => &mut envelope.greeting,
                Member::Return => &mut envelope.result,
                Member::Error => &mut envelope.error,
                Member::Event => &mut envelope.event,
                Member::Data => &mut envelope.data,
                Member::Timestamp => &mut envelope.timestamp,
                Member::Id => &mut envelope.id,
                Member::Unknown => continue,
            };
            if place.replace(value).is_some() {
                return Err(A::Error::custom(format_args!("{member:?} occurs twice")));
            }
        }
        Ok(envelope)
    }
}

#[derive(Debug)]
enum Member {
    Greeting,
    Return,
    Error,
    Event,
    Data,
    Timestamp,
    Id,
    Unknown,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(MemberVisitor)
    }
}

struct MemberVisitor;

impl Visitor<'_> for MemberVisitor {
    type Value = Member;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E: serde_core::de::Error>(self, name: &str) -> Result<Member, E> {
        Ok(match name {
            "QMP" => Member::Greeting,
            "return" => Member::Return,
            "error" => Member::Error,
            "event" => Member::Event,
            "data" => Member::Data,
            "timestamp" => Member::Timestamp,
            "id" => Member::Id,
            _ => Member::Unknown,
        })
    }
}

fn not_json(line: &[u8], reason: &dyn fmt::Display) -> ProtocolError {
    ProtocolError::NotJson {
        line: excerpt(line),
        reason: reason.to_string(),
    }
}

fn malformed(line: &[u8], reason: &dyn fmt::Display) -> ProtocolError {
    ProtocolError::Malformed {
        line: excerpt(line),
        reason: reason.to_string(),
    }
}

/// The start of a line, as text for an error. Control characters are escaped, so
/// that a terminal does not execute them.
pub(super) fn excerpt(line: &[u8]) -> String {
    const SHOWN_BYTES: usize = 200;
    let mut text = String::new();
    for it in String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES)]).chars() {
        if it.is_control() {
            text.extend(it.escape_default());
        } else {
            text.push(it);
        }
    }
    if line.len() > SHOWN_BYTES {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_members_classes_and_events_are_no_errors() {
        let line = br#"{"x-new": [1], "event": "X_NEW", "timestamp": {"seconds": -1, "microseconds": -1}}"#;
        let Ok(Message::Event(event)) = Message::parse(line) else {
            panic!("no event")
        };
        assert_eq!((event.name(), event.timestamp()), ("X_NEW", None));
        let line = br#"{"error": {"class": "X", "desc": "d", "more": 1}, "id": 3}"#;
        let Ok(Message::Error { error, id }) = Message::parse(line) else {
            panic!("no error")
        };
        assert_eq!(
            (error.class.as_str(), id.map(RawValue::get)),
            ("X", Some("3"))
        );
    }

    #[test]
    fn each_kind_of_bad_line_has_its_own_error() {
        let error = |line: &[u8]| Message::parse(line).unwrap_err();
        assert!(matches!(error(b"hello"), ProtocolError::NotJson { .. }));
        assert!(matches!(
            error(b"{\"return\": "),
            ProtocolError::NotJson { .. }
        ));
        assert!(matches!(
            error(b"{\"return\": \"\xff\"}"),
            ProtocolError::NotJson { .. }
        ));
        assert!(matches!(error(b"[1]"), ProtocolError::NotAnObject { .. }));
        assert!(matches!(error(b"{}"), ProtocolError::Malformed { .. }));
        assert!(matches!(
            error(b"{\"event\": 1}"),
            ProtocolError::Malformed { .. }
        ));
        assert!(matches!(
            error(b"{\"id\": 1, \"id\": 1}"),
            ProtocolError::Malformed { .. }
        ));
        let both = br#"{"return": 1, "error": {"class": "X", "desc": ""}}"#;
        assert!(matches!(error(both), ProtocolError::Malformed { .. }));
    }

    #[test]
    fn endless_nesting_costs_no_stack() {
        let (open, close) = ("[".repeat(1_000_000), "]".repeat(1_000_000));
        let deep = format!(r#"{{"return": {open}{close}}}"#).into_bytes();
        assert!(matches!(Message::parse(&deep), Ok(Message::Return { .. })));
    }
}
