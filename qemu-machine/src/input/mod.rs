//! The keyboard and the mouse of a machine.
//!
//! ```text
//! text, chord, move, click --> Stroke, Stroke, … (pure) --input-send-event--> QEMU
//! ```
//!
//! Keys go through `input-send-event`, because QEMU's `send-key` silently drops
//! keys if many wait or the guest is paused. `input-send-event` reports that.

pub(crate) mod error;
pub(crate) mod keyboard;
mod layout;
pub(crate) mod mouse;
mod perform;
mod stroke;

pub(crate) use error::InputError;
pub(crate) use keyboard::Keyboard;
pub use layout::KeyboardLayout;
pub use mouse::Button;
pub(crate) use mouse::Mouse;
pub use perform::InputAction;
pub(crate) use perform::{Input, Turns};
