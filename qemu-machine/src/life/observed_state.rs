//! What QEMU reported about its end and its guest. It is updated when the event
//! is read, so a caller with the reply of a command also sees the events before
//! it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use qemu_qmp::Event;
use qemu_qmp_engine::Watched;

use crate::life::Shutdown;
use crate::life::{GuestRecord, GuestState, PauseReason, PausedForGood};

/// Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct ObservedState(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    record: Mutex<GuestRecord>,
    /// The reset up to which the consoles were read.
    settled_resets: Watched<u64>,
}

impl ObservedState {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            record: Mutex::new(GuestRecord::new(Instant::now())),
            settled_resets: Watched::new(0),
        }))
    }

    /// Processes an event. Returns `false` if nothing changes.
    pub(crate) fn take(&self, event: &Event) -> bool {
        self.lock().take(event, Instant::now())
    }

    /// Records that the guest starts paused.
    pub(crate) fn begin(&self, reason: PauseReason) {
        self.lock().begin(reason, Instant::now());
    }

    /// The announced end of QEMU.
    pub(crate) fn shutdown(&self) -> Option<Shutdown> {
        self.lock().shutdown().cloned()
    }

    pub(crate) fn has_panicked(&self) -> bool {
        self.lock().has_panicked()
    }

    /// Why only a reset makes the guest run again, if so.
    pub(crate) fn paused_for_good(&self) -> Option<PausedForGood> {
        self.lock().paused_for_good().cloned()
    }

    pub(crate) fn guest(&self) -> GuestState {
        self.lock().state(Instant::now())
    }

    /// How often the guest was paused.
    pub(crate) fn stops(&self) -> u64 {
        self.lock().stops()
    }

    /// How often the guest was reset.
    pub(crate) fn resets(&self) -> u64 {
        self.lock().resets()
    }

    /// The consoles have been read up to this reset.
    pub(crate) fn settle_resets(&self, resets: u64) {
        let settled = &self.0.settled_resets;
        settled.change(|settled| *settled = resets.max(*settled));
    }

    /// Waits until the guest was reset more than `resets` times, and the output
    /// of its consoles before that was read.
    pub(crate) async fn reset_after(&self, resets: u64) {
        let settled = &self.0.settled_resets;
        settled
            .until(|&settled| (settled > resets).then_some(()))
            .await;
    }

    fn lock(&self) -> MutexGuard<'_, GuestRecord> {
        let record = self.0.record.lock();
        record.unwrap_or_else(PoisonError::into_inner)
    }
}
