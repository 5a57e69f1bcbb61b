//! Launches a machine: from its description to a monitor that answers.
//!
//! ```text
//! Launch --engine--> LaunchResources (directory, log, sockets) --> Process
//!   --> supervisor
//!   --> handshake --> guest runs --> verdict --> Machine, or LaunchError
//! ```
//!
//! QEMU keeps the guest paused until the handshake is done. So the outcome does
//! not depend on a race: once the guest was started, the launch succeeds, even
//! if the machine has already ended.
//!
//! A launch that fails, is cancelled or is dropped leaves nothing. Its resources
//! are dropped, and the supervisor ends the process.

mod advice;
mod announcement;
mod cancel;
mod channels;
pub(crate) mod error;
mod handshake;
mod image_files;
mod layer;
mod operation;
mod overlay;
mod resources;
mod serial_ports;
mod start;
mod template;
mod verdict;

pub(crate) use cancel::Cancel;
pub(crate) use error::{LaunchError, LaunchFailure};
pub use operation::Launch;
