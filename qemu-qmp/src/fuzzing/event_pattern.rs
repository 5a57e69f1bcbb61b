//! Patterns made of the data that they are to be held by, or not.

use serde_json::Value;

use crate::EventPattern;
use crate::wire::{Connection, Event, Output, Settings};

/// An event's data holds itself, and what has less of it; and not what has more,
/// or other.
///
/// The first line of the input is the data; the second, if it is one, a pattern
/// of its own. The first byte tells which part of the data is changed.
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

/// The event that a server tells in this way.
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

/// A change of a pattern, whether it can be made, and whether what held the
/// pattern before still does.
type Change = fn(&mut Value) -> bool;

const CHANGES: [(Change, bool); 4] = [
    // Null, which anything holds.
    (
        |value| {
            *value = Value::Null;
            true
        },
        true,
    ),
    // One key less.
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
    // One key more, or one member.
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
    // Something else of the same kind, or of another.
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

/// Changes what stands at a place, members counted through; lists are looked at
/// from outside alone, as no part of one holds for it.
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

/// The same as [`EventPattern`] says of itself, by way of paths: each that ends
/// in a value which is no object must lead to the same value.
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
