//! From a spec to a machine whose monitor answers.
//!
//! ```text
//! Launch --engine--> LaunchResources (directory, log, sockets) --> Process, supervised
//!   --> handshake --> guest runs --> verdict --> Machine, or LaunchError
//! ```
//!
//! QEMU keeps the guest paused until the handshake is done. So the outcome does
//! not depend on a race: once the guest was let run, the machine is launched,
//! even if it has ended by then.
//!
//! A launch that fails, or is given up, leaves nothing: what was made is
//! dropped, and the supervisor ends a process that was started, as it does for
//! every machine.

mod advice;
mod channels;
pub(crate) mod error;
mod handshake;
mod operation;
mod resources;
mod serial_ports;
mod start;
mod verdict;

pub(crate) use error::{LaunchError, LaunchFailure};
pub use operation::Launch;
