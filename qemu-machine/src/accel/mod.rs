//! Which accelerator runs a guest, and which of them is worth it.
//!
//! ```text
//! binary --`-accel help`--> listed --host--> permitted --trial--> AccelFinding --> AccelReport --> AccelChoice
//! ```
//!
//! Each step is its own file: `host` asks what may be used, `trial` runs
//! the tiny guest with it, `finding` is the result, `choice` is the
//! decision, `cache` keeps findings, and `probe` has the operations.

mod cache;
mod choice;
mod finding;
pub(crate) mod handle;
pub(crate) mod probe;
mod trial;

pub use choice::{AccelChoice, PassedOver};
pub use finding::{AccelFinding, AccelReport};
pub(crate) use handle::Accel;
pub use probe::{AccelList, AccelProbe, BestAccel};
