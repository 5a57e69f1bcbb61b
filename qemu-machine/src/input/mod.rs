//! What is done at a machine's keyboard and with its mouse.
//!
//! ```text
//! text, chord, move, click --> Stroke, Stroke, … (pure) --input-send-event--> QEMU
//! ```
//!
//! By `input-send-event`, and not by `send-key`: this drops keys without a word
//! where many wait, or the guest is stopped, and that says so.

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
