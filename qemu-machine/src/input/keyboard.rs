//! The keyboard of a machine.

use std::io;
use std::time::Duration;

use qemu_qmp::Client;

use super::perform::Input;
use super::stroke::Stroke;
use super::{InputAction, InputError, KeyboardLayout};

/// The keyboard of a machine; returned by
/// [`Machine::keyboard`](crate::Machine::keyboard).
///
/// Use it for firmware, boot menus and screens. For a guest with a console on a
/// serial port, [`Console::send`](crate::Console::send) is faster. Concurrent
/// actions of several callers run one after the other.
///
/// # Examples
/// ```no_run
/// use qemu_machine::{Machine, Wait};
/// use qemu_machine::input::KeyboardLayout;
///
/// # fn log_in(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
/// vm.keyboard().type_text("root\n").wait()?;
/// vm.keyboard().press("ctrl-alt-delete").wait()?;
/// // A guest that is set to a German keyboard:
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
    /// The keyboard of a QEMU that something else has launched, by a connection to its
    /// monitor.
    ///
    /// # Errors
    /// This process has no thread or descriptor left for it.
    pub fn of(monitor: &Client) -> io::Result<Self> {
        Ok(Self::new(Input::of(monitor)?))
    }

    pub(crate) fn new(input: Input) -> Self {
        Self {
            input,
            layout: KeyboardLayout::default(),
        }
    }

    /// Sets the keyboard layout of the guest, instead of US.
    ///
    /// QEMU sends keys, and the guest translates them into characters. So this
    /// must be the layout that the guest is set to.
    pub fn layout(mut self, layout: KeyboardLayout) -> Self {
        self.layout = layout;
        self
    }

    /// Types a text, one key every 20 ms unless another
    /// [`pace`](InputAction::pace) is set.
    ///
    /// The text may have the characters of the [layout](Self::layout), line
    /// ends (`\n`), tabs, backspaces (`\x08`) and escapes (`\x1b`). If the layout
    /// has no key for one of its characters, nothing is typed.
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

    /// Presses a key, or several together, by QEMU's names joined with `-`:
    /// `esc`, `f12`, `ctrl-alt-delete`, `shift-a`.
    ///
    /// The keys go down in this order, and up in reverse order. They are held
    /// for 100 ms, unless [`hold`](InputAction::hold) sets another time.
    ///
    /// `QKeyCode` in QEMU's QMP reference lists the names. A name stands for
    /// the key's place on a US keyboard, in every layout.
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
        InputAction::new(self.input.clone(), strokes, HOLD)
    }
}

/// The default of QEMU's `send-key`.
const HOLD: Duration = Duration::from_millis(100);
