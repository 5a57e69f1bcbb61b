//! Which accelerators run a guest on this host, and which one is fastest.
//!
//! ```text
//! binary --`-accel help`--> listed --host--> permitted --trial--> AccelFinding
//! AccelFinding of each --> AccelReport --> AccelChoice
//! ```
//!
//! Each step has its own file:
//! - `crate::host` checks what the host permits.
//! - `trial` runs the tiny guest.
//! - `finding` is the result.
//! - `choice` decides which accelerator is best.
//! - `cache` keeps findings.
//! - `probe` has the operations.

mod cache;
mod choice;
mod finding;
pub(crate) mod handle;
pub(crate) mod probe;
mod trial;

pub use choice::{AccelChoice, RejectedAccel};
pub use finding::{AccelFinding, AccelReport};
pub(crate) use handle::Accel;
pub use probe::{AccelList, AccelProbe, BestAccel};
