//! The events that are sent to QEMU for a key, a chord, a move or a click
//! (`InputEvent` in QEMU's `qapi/ui.json`).

use serde_json::{Value, json};

/// The events to send first (keys down, or a move), and the events to send
/// afterwards (keys up).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stroke {
    pub(super) down: Vec<Value>,
    pub(super) up: Vec<Value>,
}

impl Stroke {
    /// Keys by QEMU's names, pressed in this order, and released in reverse.
    pub(super) fn keys(names: &[&str]) -> Self {
        let event = |name: &&str, down: bool| {
            let key = json!({"type": "qcode", "data": name});
            json!({"type": "key", "data": {"down": down, "key": key}})
        };
        Self {
            down: names.iter().map(|name| event(name, true)).collect(),
            up: names.iter().rev().map(|name| event(name, false)).collect(),
        }
    }

    /// A button of the mouse, by QEMU's name.
    pub(super) fn button(name: &str) -> Self {
        let event = |down: bool| json!({"type": "btn", "data": {"down": down, "button": name}});
        Self {
            down: vec![event(true)],
            up: vec![event(false)],
        }
    }

    /// A move on both axes: `abs` moves to a place, `rel` by a distance.
    pub(super) fn motion(kind: &str, x: i32, y: i32) -> Self {
        let event = |axis, value| json!({"type": kind, "data": {"axis": axis, "value": value}});
        Self {
            down: vec![event("x", x), event("y", y)],
            up: Vec::new(),
        }
    }
}
