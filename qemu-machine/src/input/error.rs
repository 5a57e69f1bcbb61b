//! The error of a keyboard or mouse.

use std::error::Error;
use std::fmt;
use std::io;
use std::time::Duration;

use qemu_qmp::error::{ErrorKind, ExecuteError};
use qemu_qmp_engine::error_text::Quoted;

use super::KeyboardLayout;

/// A keyboard or mouse action was not done, or not completely.
#[derive(Clone)]
#[non_exhaustive]
pub enum InputError {
    /// The keyboard layout has no key for a character. Nothing was typed.
    NoKey {
        /// The machine, such as `machine 'qemu-1'`.
        machine: String,
        /// The layout.
        layout: KeyboardLayout,
        /// The character.
        character: char,
        /// The character's place in the text, counted from 1.
        position: usize,
    },
    /// A chord lacks the name of a key. Nothing was pressed.
    NoChord {
        /// The machine, such as `machine 'qemu-1'`.
        machine: String,
        /// The chord as it was given.
        chord: String,
    },
    /// QEMU refused the action, or its monitor failed. QEMU refuses an unknown
    /// name of a key, a paused guest, and a machine without such a device.
    Execute(ExecuteError),
    /// The guest did not accept the action in time.
    Timeout {
        /// The machine, such as `machine 'qemu-1'`.
        machine: String,
        /// How many keys or moves were sent. The guest may not have read the
        /// last one.
        done: usize,
        /// How many keys or moves the action has.
        all: usize,
        /// The deadline.
        limit: Duration,
        /// Who kept the action waiting.
        waited_for: &'static str,
        /// The last output of QEMU and the console, on lines of their own.
        seen: String,
    },
}

impl InputError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoKey { .. } | Self::NoChord { .. } => ErrorKind::InvalidInput,
            Self::Execute(cause) => cause.kind(),
            Self::Timeout { .. } => ErrorKind::Timeout,
        }
    }

    /// The error of the system, if one is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Execute(cause) => cause.io_error(),
            _ => None,
        }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKey {
                machine,
                layout,
                character,
                position,
            } => write!(
                f,
                "{machine}: nothing was typed: the {layout} keyboard layout has no key for \
                 {character:?}, character {position} of the text"
            ),
            Self::NoChord { machine, chord } => write!(
                f,
                "{machine}: nothing was pressed: {} is not a chord; join names of keys with '-'",
                Quoted(chord)
            ),
            Self::Execute(cause) => {
                write!(f, "{cause}")?;
                match cause.reply().and_then(|reply| advice(&reply.desc)) {
                    Some(advice) => write!(f, "\n  advice: {advice}"),
                    None => Ok(()),
                }
            }
            Self::Timeout {
                machine,
                done,
                all,
                limit,
                waited_for,
                seen,
            } => {
                write!(f, "{machine}: ")?;
                if done == all {
                    write!(f, "sent all {all} keys or moves, but did not finish")?;
                } else {
                    write!(f, "sent only {done} of {all} keys or moves")?;
                }
                write!(f, " within {limit:?}: {waited_for}{seen}")
            }
        }
    }
}

impl Error for InputError {}

/// What to do about QEMU's reply, if it says that the machine lacks a device.
fn advice(reply: &str) -> Option<&'static str> {
    let (_, event) = reply.split_once("Input handler not found for event type ")?;
    match event.trim() {
        "abs" => Some(
            "the machine has no tablet, which a move to a place needs: give it one, such as \
             `-device virtio-tablet-pci`, or `-device usb-tablet` with a USB controller",
        ),
        "rel" | "btn" => Some(
            "the machine has no mouse: give it one, such as `-device virtio-mouse-pci`, or \
             `-device usb-mouse` with a USB controller",
        ),
        "key" => Some(
            "the machine has no keyboard: give it one, such as `-device virtio-keyboard-pci`, or \
             `-device usb-kbd` with a USB controller",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_the_machine_lacks_is_named() {
        let table = [
            ("abs", "virtio-tablet-pci"),
            ("rel", "virtio-mouse-pci"),
            ("btn", "virtio-mouse-pci"),
            ("key", "virtio-keyboard-pci"),
        ];
        for (event, device) in table {
            let reply = format!("Input handler not found for event type {event}");
            assert!(advice(&reply).unwrap().contains(device), "{event}");
        }
        assert_eq!(advice("VM not running"), None);
    }
}
