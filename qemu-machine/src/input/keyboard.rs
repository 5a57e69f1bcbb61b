//! The keyboard of a machine.

use std::time::Duration;

use super::perform::Input;
use super::stroke::Stroke;
use super::{InputAction, InputError, KeyboardLayout};

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
/// use qemu_machine::input::KeyboardLayout;
///
/// # fn log_in(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
/// vm.keyboard().type_text("root\n").wait()?;
/// vm.keyboard().press("ctrl-alt-delete").wait()?;
/// // A guest that takes its keyboard for a German one:
/// vm.keyboard().layout(KeyboardLayout::German).type_text("über@example.org\n").wait()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Keyboard {
    input: Input,
    layout: KeyboardLayout,
}

impl Keyboard {
    pub(crate) fn new(input: Input) -> Self {
        Self {
            input,
            layout: KeyboardLayout::default(),
        }
    }

    /// Types texts by this handle for a guest whose keyboard has this layout,
    /// instead of a US one. QEMU passes on which keys are pressed, and the guest
    /// makes characters of them, so it must be the guest's own layout.
    pub fn layout(mut self, layout: KeyboardLayout) -> Self {
        self.layout = layout;
        self
    }

    /// Types a text, a key each 20 ms unless another
    /// [`pace`](InputAction::pace) is set: what the [layout](Self::layout) has
    /// keys for, line ends (`\n`), tabs, backspaces (`\x08`) and escapes
    /// (`\x1b`). If it has no key for one of the characters, nothing is typed.
    pub fn type_text(&self, text: &str) -> InputAction {
        let strokes = text.chars().enumerate().map(|(index, character)| {
            let chords = self.layout.chords(character);
            chords.ok_or_else(|| InputError::NoKey {
                machine: self.input.context.name(),
                layout: self.layout,
                character,
                position: index + 1,
            })
        });
        let chords: Result<Vec<_>, _> = strokes.collect();
        let strokes = chords.map(|chords| {
            let chords = chords.iter().flatten();
            chords.map(|chord| Stroke::keys(chord)).collect()
        });
        InputAction::new(self.input.clone(), strokes, Duration::ZERO)
    }

    /// Presses a key, or several at once, by QEMU's names with a `-` between
    /// two: `esc`, `f12`, `ctrl-alt-delete`, `shift-a`. They go down in this
    /// order, and up in the other 100 ms later, unless they are
    /// [held](InputAction::hold) for another time.
    ///
    /// The names are those of `QKeyCode` in QEMU's reference of QMP. They name a
    /// key by what it is on a US keyboard, whatever the layout.
    pub fn press(&self, chord: &str) -> InputAction {
        let names: Vec<&str> = chord.split('-').collect();
        let strokes = if names.contains(&"") {
            Err(InputError::NoChord {
                machine: self.input.context.name(),
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
