//! The mouse of a machine.

use std::time::Duration;

use super::InputAction;
use super::perform::Input;
use super::stroke::Stroke;

/// The mouse of a machine; made by [`Machine::mouse`](crate::Machine::mouse).
///
/// A PC has one that is told distances ([`move_by`](Self::move_by)). To be told
/// places ([`move_to`](Self::move_to)) a machine needs a tablet as well, such as
/// `usb-tablet` on a USB controller.
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

/// A button of a mouse. A turn of the wheel is one too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Button {
    /// The left one.
    Left,
    /// The one in the middle.
    Middle,
    /// The right one.
    Right,
    /// The wheel, by one notch away from the user.
    WheelUp,
    /// The wheel, by one notch towards the user.
    WheelDown,
}

impl Mouse {
    pub(crate) fn new(input: Input) -> Self {
        Self { input }
    }

    /// Moves to a place of the screen: 0 is its left or upper border, 1 the
    /// other one; what is beyond is taken for the border.
    pub fn move_to(&self, x: f64, y: f64) -> InputAction {
        // What is no number is taken for 0.
        #[allow(clippy::cast_possible_truncation)]
        let place = |share: f64| (share.clamp(0.0, 1.0) * f64::from(FAR)).round() as i32;
        self.action(Stroke::motion("abs", place(x), place(y)))
    }

    /// Moves by a distance, to the right and downwards, in the mouse's own
    /// steps. What the guest makes of them is its choice.
    pub fn move_by(&self, x: i32, y: i32) -> InputAction {
        self.action(Stroke::motion("rel", x, y))
    }

    /// Presses a button, and releases it 20 ms later, unless it is
    /// [held](InputAction::hold) for another time.
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
        InputAction::new(self.input.clone(), Ok(vec![stroke]), HELD)
    }
}

const HELD: Duration = Duration::from_millis(20);

/// `INPUT_EVENT_ABS_MAX`: the right or lower border of a screen of any size.
const FAR: i32 = 0x7fff;
