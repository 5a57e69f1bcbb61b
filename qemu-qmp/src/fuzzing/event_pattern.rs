//! Patterns that are made from an event's data, and changed.

use serde_json::Value;

use crate::EventPattern;
use crate::wire::{Connection, Event, Output, Settings};

/// Checks that data matches itself and a part of itself, and does not match a
/// pattern with more or with other values.
///
/// The first line of the input is the data. The second line is another pattern, if
/// it is JSON. The first byte selects the part of the data to change.
pub fn event_pattern(input: &[u8]) {
    let Some((&place, input)) = input.split_first() else {
        return;
    };
    let mut lines = input.splitn(2, |&byte| byte == b'\n');
    let data = lines.next().unwrap_or_default();
    let Some(event) = event(data) else {
        return;
    };
    if let Some(Ok(pattern)) = lines.next().map(serde_json::from_slice::<Value>) {
        let told = event.data::<Value>();
        let meant = pattern.is_null() || told.is_ok_and(|told| is_held(&told, &pattern));
        assert_eq!(matches(&event, pattern), meant);
    }
    assert!(matches(&event, Value::Null));
    assert!(!EventPattern::from("OTHER").matches(&event));
    let Ok(data) = event.data::<Value>() else {
        return;
    };
    assert!(matches(&event, data.clone()));
    for (change, is_still_held) in CHANGES {
        let mut pattern = data.clone();
        let mut place = usize::from(place);
        if at(&mut pattern, &mut place, change) {
            assert_eq!(matches(&event, pattern), is_still_held);
        }
    }
}

/// The event of this line from a server.
fn event(data: &[u8]) -> Option<Event> {
    let settings = Settings {
        greeting: false,
        negotiate: false,
        ..Settings::default()
    };
    let mut connection: Connection<()> = Connection::new(settings);
    let line = [b"{\"event\": \"X\", \"data\": ", data, b"}\n"].concat();
    connection.receive(&line).ok()?;
    let mut outputs = std::iter::from_fn(|| connection.poll_output());
    outputs.find_map(|output| match output {
        Output::Event(event) => Some(event),
        _ => None,
    })
}

fn matches(event: &Event, data: Value) -> bool {
    let pattern = EventPattern::new(event.name(), data);
    assert!(pattern.to_string().starts_with("'X'"));
    pattern.matches(event)
}

/// A change of a pattern: whether it is possible, and whether data that matched
/// before still matches.
type Change = fn(&mut Value) -> bool;

const CHANGES: [(Change, bool); 4] = [
    // Null, which matches anything.
    (
        |value| {
            *value = Value::Null;
            true
        },
        true,
    ),
    // Without one key.
    (
        |value| match value {
            Value::Object(members) => {
                let key = members.keys().next().cloned();
                key.is_some_and(|key| members.remove(&key).is_some())
            }
            _ => false,
        },
        true,
    ),
    // With one more key or item.
    (
        |value| match value {
            Value::Object(members) => members.insert("\0more".into(), Value::Null).is_none(),
            Value::Array(members) => {
                members.push(Value::Null);
                true
            }
            _ => false,
        },
        false,
    ),
    // Another value of the same type, or of another type.
    (
        |value| {
            *value = match value {
                Value::Null => false.into(),
                Value::Bool(bool) => (!*bool).into(),
                Value::Number(number) => number.to_string().into(),
                Value::String(text) => format!("{text}x").into(),
                Value::Array(members) => members.len().into(),
                Value::Object(_) => Vec::<Value>::new().into(),
            };
            true
        },
        false,
    ),
];

/// Changes the value at an index, counting the members in depth. A list is one value,
/// because a part of a list does not match it.
fn at(value: &mut Value, place: &mut usize, change: Change) -> bool {
    if *place == 0 {
        return change(value);
    }
    *place -= 1;
    match value {
        Value::Object(members) => members.values_mut().any(|value| at(value, place, change)),
        _ => false,
    }
}

/// The rule of [`EventPattern`], implemented with paths: each path to a value that is
/// not an object must lead to an equal value.
fn is_held(data: &Value, pattern: &Value) -> bool {
    let mut open = vec![(Some(data), pattern)];
    while let Some((data, pattern)) = open.pop() {
        match pattern {
            Value::Null => {}
            Value::Object(members) => {
                let Some(Value::Object(found)) = data else {
                    return false;
                };
                for (key, pattern) in members {
                    if !found.contains_key(key) {
                        return false;
                    }
                    open.push((found.get(key), pattern));
                }
            }
            _ if data == Some(pattern) => {}
            _ => return false,
        }
    }
    true
}
