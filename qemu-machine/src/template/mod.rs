//! Boots a guest once, and clones it as often as wanted.
//!
//! ```text
//! builder.freezable() --launch--> Machine --freeze--> Template
//! Template --machine()--> MachineBuilder --launch--> Machine, where the guest goes on
//! ```
//!
//! A template is a directory with the guest's memory, the state of its devices
//! and its disks. Its clones map the memory privately, so the kernel copies each
//! page that a clone writes. Their disks are overlays. So a clone costs what it
//! writes, and no clone sees another.
//!
//! A clone is the guest as it was frozen, with the same random seed, host name,
//! MAC addresses and clock, unless the caller or the guest changes them.

mod clone;
pub(crate) mod error;
mod files;
mod freeze;
mod manifest;

pub use clone::Template;
pub use error::TemplateError;
pub use freeze::Freeze;
