//! What can go wrong at a keyboard or with a mouse.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use qemu_qmp::ExecuteError;
use qemu_qmp_engine::error_text::Quoted;

use super::KeyboardLayout;

/// What was to be done at a keyboard or with a mouse was not, or not all of it.
#[non_exhaustive]
pub enum InputError {
    /// The keyboard's layout has no key for a character. Nothing was typed.
    NoKey {
        /// Whose keyboard, such as `machine 'qemu-1'`.
        machine: String,
        /// The layout.
        layout: KeyboardLayout,
        /// The character.
        character: char,
        /// Where it stands, counted from 1.
        position: usize,
    },
    /// A chord lacks the name of a key. Nothing was pressed.
    NoChord {
        /// Whose keyboard, such as `machine 'qemu-1'`.
        machine: String,
        /// The chord as it was given.
        chord: String,
    },
    /// QEMU refused it, as for a key of a name unknown to it, a guest that is
    /// stopped, or a machine without such a device; or it could not be asked.
    Execute(ExecuteError),
    /// The guest did not take it in time.
    Timeout {
        /// Whose keyboard or mouse, such as `machine 'qemu-1'`.
        machine: String,
        /// How many were made. The guest may not have taken the last one.
        done: usize,
        /// How many there were to make.
        all: usize,
        /// The deadline, with the time that the typing itself takes.
        limit: Duration,
        /// Whom was waited for.
        waited_for: &'static str,
        /// What QEMU and the console said last, in lines of their own.
        seen: String,
    },
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
                "{machine}: the {layout} keyboard layout has no key for {character:?}, \
                 character {position} of the text"
            ),
            Self::NoChord { machine, chord } => write!(
                f,
                "{machine}: {} is no chord: it must be names of keys, with a '-' between two",
                Quoted(chord)
            ),
            Self::Execute(cause) => write!(f, "{cause}"),
            Self::Timeout {
                machine,
                done,
                all,
                limit,
                waited_for,
                seen,
            } => write!(
                f,
                "{machine}: of {all} keys or moves, {done} were made within {limit:?}; \
                 {waited_for}{seen}"
            ),
        }
    }
}

impl Error for InputError {}
