//! The channels of a machine: sockets whose other ends QEMU has from its start.
//!
//! ```text
//! ChannelConfig --launch--> Channel (for the supervisor), a handle (for the caller)
//! ```
//!
//! The first monitor is not among them: the life of a machine depends on it,
//! and it may be reached otherwise.

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

/// Our end of a channel, served on the engine.
pub(crate) trait Channel: Send + Sync {
    /// Reads until the channel ends.
    fn pump(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>>;

    /// QEMU has ended: reading ends after what is there.
    fn hang_up(&self);

    /// QEMU has closed the channel, and lives on.
    fn closed(&self);

    /// QEMU has told of an event.
    fn observe(&self, _event: &Event) {}

    /// QEMU holds the guest, for this reason, or it may go on.
    fn guest_paused(&self, _paused: Option<&PausedForGood>) {}

    /// Waits until all is read that has been sent by now.
    fn drained(self: Arc<Self>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::ready(()))
    }

    /// Nothing more will come: lets go of what it writes to. Gives why that is
    /// not whole, if it is not.
    fn close(&self) -> Option<String> {
        None
    }

    /// The machine has ended. Lets go of the socket. The waiters are notified
    /// once all else is let go of.
    fn machine_ended(&self, report: &Arc<ExitReport>) -> PendingNotices;
}
