//! The channels of a machine: sockets whose other ends QEMU has from its start.
//!
//! ```text
//! ChannelConfig --launch--> Channel (for the supervisor), a handle (for the caller)
//! ```
//!
//! The first monitor is not one of them: the life of a machine depends on it,
//! and it may be on another kind of socket.

mod agent;
mod context;
mod monitor;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use qemu_qmp::Event;
use qemu_qmp::supervise::PendingNotices;

pub(crate) use agent::{absent as absent_agent, connect as connect_agent};
pub(crate) use context::{MachineContext, MachineFacts, Seen, tails};
pub(crate) use monitor::connect as connect_monitor;

use crate::life::{ExitReport, PausedForGood};

/// The end of a channel in this process, served on the engine.
pub(crate) trait Channel: Send + Sync {
    /// Reads until the channel ends.
    fn pump(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// QEMU has ended: reading stops after what is there.
    fn hang_up(&self);

    /// QEMU closed the channel, and continues.
    fn closed(&self);

    /// QEMU sent an event.
    fn observe(&self, _event: &Event) {}

    /// The guest is paused for good, for this reason, or runs again (`None`).
    fn guest_paused(&self, _paused: Option<&PausedForGood>) {}

    /// Waits until everything that was sent so far is read.
    fn drained(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }

    /// Nothing more will come: closes what it writes to. Returns what could not
    /// be written, and why.
    fn close(&self) -> Option<String> {
        None
    }

    /// The machine has ended. Closes the socket. The waiters are notified when
    /// everything else is closed.
    fn machine_ended(&self, report: &Arc<ExitReport>) -> PendingNotices;
}
