//! A pattern of events, as data: it can be printed and matched anywhere.

use std::fmt;

use serde_json::Value;

use crate::wire::Event;

/// A pattern of events: a name, and a pattern of their data.
///
/// | pattern | it matches |
/// |---|---|
/// | an object | an object with each of its keys, whose values match too; other keys are ignored |
/// | null | any value, and an absent value |
/// | anything else | an equal value; a list only with the same items in the same order |
///
/// # Examples
/// ```
/// use qemu_qmp::EventPattern;
/// use serde_json::json;
///
/// let any_stop: EventPattern = "STOP".into();
/// let concluded = EventPattern::new(
///     "JOB_STATUS_CHANGE",
///     json!({"id": "backup0", "status": "concluded"}),
/// );
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct EventPattern {
    name: String,
    data: Value,
}

impl EventPattern {
    /// Matches events with this name whose data matches this pattern.
    pub fn new(name: impl Into<String>, data: Value) -> Self {
        Self {
            name: name.into(),
            data,
        }
    }

    /// The name of the events.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the pattern matches an event.
    pub fn matches(&self, event: &Event) -> bool {
        self.name == event.name()
            && (self.data.is_null()
                || event
                    .data::<Value>()
                    .is_ok_and(|data| is_match(&data, &self.data)))
    }

    /// Whether the pattern matches this message, such as a message of a
    /// [tap](crate::Tap) or of a transcript. A message that is no event does not
    /// match.
    pub fn matches_json(&self, message: &Value) -> bool {
        let data = message.get("data").unwrap_or(&Value::Null);
        message["event"] == *self.name && is_match(data, &self.data)
    }
}

impl From<&str> for EventPattern {
    fn from(name: &str) -> Self {
        Self::new(name, Value::Null)
    }
}

impl From<String> for EventPattern {
    fn from(name: String) -> Self {
        Self::new(name, Value::Null)
    }
}

impl<N: Into<String>> From<(N, Value)> for EventPattern {
    fn from((name, data): (N, Value)) -> Self {
        Self::new(name, data)
    }
}

impl fmt::Display for EventPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, data } = self;
        if data.is_null() {
            write!(f, "'{name}'")
        } else {
            write!(f, "'{name}' with {data}")
        }
    }
}

fn is_match(value: &Value, pattern: &Value) -> bool {
    match (value, pattern) {
        (_, Value::Null) => true,
        (Value::Object(members), Value::Object(patterns)) => {
            patterns.iter().all(|(key, pattern)| {
                members
                    .get(key)
                    .is_some_and(|value| is_match(value, pattern))
            })
        }
        _ => value == pattern,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_of_json_is_matched_as_its_event_is() {
        let pattern = EventPattern::new("JOB", json!({"id": "a"}));
        let job = json!({"event": "JOB", "data": {"id": "a", "n": 1}});
        assert!(pattern.matches_json(&job));
        assert!(EventPattern::from("STOP").matches_json(&json!({"event": "STOP"})));
        for message in [
            json!({"event": "JOB", "data": {"id": "b"}}),
            json!({"event": "JOB"}),
            json!({"event": "STOP", "data": {"id": "a"}}),
            json!({"return": {}}),
            json!([]),
        ] {
            assert!(!pattern.matches_json(&message), "{message}");
        }
    }

    #[test]
    fn a_pattern_is_a_subset_at_every_depth_and_lists_are_lists() {
        let data = json!({
            "id": "d0", "n": 3, "ok": true, "none": null,
            "in": {"a": 1, "b": {"c": [1, {"d": 2}]}},
        });
        for pattern in [
            json!(null),
            json!({}),
            json!({"id": "d0"}),
            json!({"id": null, "n": 3}),
            json!({"none": null}),
            json!({"in": {"b": {}}}),
            json!({"in": {"b": {"c": [1, {"d": 2}]}}}),
        ] {
            assert!(is_match(&data, &pattern), "{pattern}");
        }
        for pattern in [
            json!("d0"),
            json!([]),
            json!({"id": "d1"}),
            json!({"other": null}),
            json!({"n": "3"}),
            json!({"none": false}),
            json!({"in": []}),
            // A part of a list, one of its items, or a subset of an item.
            json!({"in": {"b": {"c": [1]}}}),
            json!({"in": {"b": {"c": 1}}}),
            json!({"in": {"b": {"c": [1, {}]}}}),
        ] {
            assert!(!is_match(&data, &pattern), "{pattern}");
        }
    }
}
