//! The mouse of a machine.

use std::io;
use std::time::Duration;

use qemu_qmp::Client;

use super::InputAction;
use super::perform::Input;
use super::stroke::Stroke;

/// The mouse of a machine; returned by [`Machine::mouse`](crate::Machine::mouse).
///
/// The mouse of a PC moves by distances ([`move_by`](Self::move_by)). To move to
/// a place ([`move_to`](Self::move_to)), the machine also needs a tablet, such
/// as `usb-tablet` on a USB controller.
///
/// # Examples
/// ```no_run
/// use qemu_machine::{Machine, Wait};
/// use qemu_machine::input::Button;
/// use qemu_machine::spec::OptionGroup;
///
/// let vm = Machine::builder("qemu-system-x86_64")
///     .device(&OptionGroup::new("VGA"))
///     .device(&OptionGroup::new("qemu-xhci"))
///     .device(&OptionGroup::new("usb-tablet"))
///     .launch()
///     .wait()?;
/// vm.mouse().move_to(0.5, 0.5).wait()?; // the middle of the screen
/// vm.mouse().click(Button::Left).wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Mouse {
    input: Input,
}

/// A button of a mouse. A notch of the wheel counts as a button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Button {
    /// The left button.
    Left,
    /// The middle button.
    Middle,
    /// The right button.
    Right,
    /// One notch of the wheel, away from the user.
    WheelUp,
    /// One notch of the wheel, towards the user.
    WheelDown,
}

impl Mouse {
    /// The mouse of a QEMU that something else has launched, by a connection to its
    /// monitor.
    ///
    /// # Errors
    /// This process has no thread or descriptor left for it.
    pub fn of(monitor: &Client) -> io::Result<Self> {
        Ok(Self::new(Input::of(monitor)?))
    }

    pub(crate) fn new(input: Input) -> Self {
        Self { input }
    }

    /// Moves to a place of the screen: 0 is the left or upper border, 1 the
    /// right or lower border. Values beyond are clamped to the border.
    pub fn move_to(&self, x: f64, y: f64) -> InputAction {
        // The cast makes 0 of NaN.
        #[allow(clippy::cast_possible_truncation)]
        let place = |share: f64| (share.clamp(0.0, 1.0) * f64::from(FAR)).round() as i32;
        self.action(Stroke::motion("abs", place(x), place(y)))
    }

    /// Moves by a distance, to the right and downwards, in steps of the mouse.
    /// The guest decides how far one step moves its pointer.
    pub fn move_by(&self, x: i32, y: i32) -> InputAction {
        self.action(Stroke::motion("rel", x, y))
    }

    /// Presses a button and releases it 20 ms later, unless
    /// [`hold`](InputAction::hold) sets another time.
    pub fn click(&self, button: Button) -> InputAction {
        let name = match button {
            Button::Left => "left",
            Button::Middle => "middle",
            Button::Right => "right",
            Button::WheelUp => "wheel-up",
            Button::WheelDown => "wheel-down",
        };
        self.action(Stroke::button(name))
    }

    fn action(&self, stroke: Stroke) -> InputAction {
        InputAction::new(self.input.clone(), Ok(vec![stroke]), HOLD)
    }
}

const HOLD: Duration = Duration::from_millis(20);

/// `INPUT_EVENT_ABS_MAX`: the right or lower border of a screen of any size.
const FAR: i32 = 0x7fff;
