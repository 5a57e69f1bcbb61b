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
//! MAC addresses and clock. [`Machine::wake`](crate::Machine::wake) gives it
//! its own.

mod clone;
mod description;
pub(crate) mod error;
mod facts;
mod files;
mod freeze;
mod host_cpu;
mod identity;
mod manifest;
mod offer_freeze;
mod pool;
mod reseed;
mod shared_pool;
mod store;
pub(crate) mod wake;

pub use clone::Template;
pub use error::TemplateError;
pub use facts::TemplateFacts;
pub use freeze::Freeze;
pub use identity::Identity;
pub use offer_freeze::FreezeOffer;
pub use pool::{Pool, PoolBuilder, Take};
pub use shared_pool::{PublishPool, SharedPool};
pub use store::{MakeTemplate, StoredTemplate, TemplateStore};
pub use wake::{PrepareWake, Wake};
