//! The keyboard of a machine.

use std::time::Duration;

use super::perform::Input;
use super::stroke::Stroke;
use super::{InputAction, InputError, keys};

/// The keyboard of a machine; made by
/// [`Machine::keyboard`](crate::Machine::keyboard).
///
/// What is typed by several callers at once comes one after the other. It is
/// for firmware, boot menus and screens; a guest with a console on a serial port
/// is typed to faster by [`Console::send`](crate::Console::send).
///
/// # Examples
/// ```no_run
/// use qemu_machine::{Machine, Wait};
///
/// # fn log_in(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
/// vm.keyboard().type_text("root\n").wait()?;
/// vm.keyboard().press("ctrl-alt-delete").wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Keyboard {
    input: Input,
}

impl Keyboard {
    pub(crate) fn new(input: Input) -> Self {
        Self { input }
    }

    /// Types a text as on a US keyboard, a key each 20 ms unless another
    /// [`pace`](InputAction::pace) is set: what ASCII can print, line ends
    /// (`\n`), tabs, backspaces (`\x08`) and escapes (`\x1b`).
    pub fn type_text(&self, text: &str) -> InputAction {
        let strokes = text.chars().enumerate().map(|(index, character)| {
            let (key, with_shift) = keys::of(character).ok_or_else(|| InputError::NoKey {
                machine: self.input.witness.name(),
                character,
                position: index + 1,
            })?;
            Ok(if with_shift {
                Stroke::keys(&["shift", key])
            } else {
                Stroke::keys(&[key])
            })
        });
        InputAction::new(self.input.clone(), strokes.collect(), Duration::ZERO)
    }

    /// Presses a key, or several at once, by QEMU's names with a `-` between
    /// two: `esc`, `f12`, `ctrl-alt-delete`, `shift-a`. They go down in this
    /// order, and up in the other 100 ms later, unless they are
    /// [held](InputAction::hold) for another time.
    ///
    /// The names are those of `QKeyCode` in QEMU's reference of QMP.
    pub fn press(&self, chord: &str) -> InputAction {
        let names: Vec<&str> = chord.split('-').collect();
        let strokes = if names.contains(&"") {
            Err(InputError::NoChord {
                machine: self.input.witness.name(),
                chord: chord.to_owned(),
            })
        } else {
            Ok(vec![Stroke::keys(&names)])
        };
        InputAction::new(self.input.clone(), strokes, HELD)
    }
}

/// As long as QEMU's own `send-key` holds it.
const HELD: Duration = Duration::from_millis(100);
