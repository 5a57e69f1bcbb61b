//! What QEMU has told of its end and of its guest, known as soon as it is read:
//! whoever has had the reply of a command knows what came before it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qemu_qmp::Event;

use crate::guest_state::GuestState;
use crate::life::Shutdown;

/// Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Words>>);

#[derive(Debug, Default)]
struct Words {
    shutdown: Option<Shutdown>,
    guest: GuestState,
}

impl Heard {
    /// Takes an event in; `false` where it tells nothing of either.
    pub(crate) fn take(&self, event: &Event) -> bool {
        let mut words = self.lock();
        match event.name() {
            "SHUTDOWN" => words.shutdown = Some(Shutdown::parse(event)),
            "GUEST_PANICKED" => words.guest.heard(event),
            "RESUME" | "RESET" => {
                // With `-no-shutdown` it was not the end.
                words.shutdown = None;
                words.guest.heard(event);
            }
            _ => return false,
        }
        true
    }

    /// The end that QEMU has announced.
    pub(crate) fn shutdown(&self) -> Option<Shutdown> {
        self.lock().shutdown.clone()
    }

    pub(crate) fn guest(&self) -> GuestState {
        self.lock().guest
    }

    fn lock(&self) -> MutexGuard<'_, Words> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
