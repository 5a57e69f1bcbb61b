//! The end of the interpreter: it ends all machines that are still alive.
//!
//! The drop of a machine ends it too. But Python may not collect every object
//! before the process ends. If the process is killed, the library's guardian ends
//! the machines.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::prelude::*;
use qemu_machine::Wait;

use crate::owned::Owned;

/// The slot of a machine that Python holds.
pub(crate) type Slot = Mutex<Option<qemu_machine::Machine>>;

/// Remembers a machine until it is collected.
pub(crate) fn remember(slot: &Arc<Slot>) {
    let mut alive = alive();
    alive.retain(|entry| entry.peek().is_some_and(|it| it.strong_count() > 0));
    alive.push(Owned::new(Arc::downgrade(slot)));
}

/// Ends all machines of this process that are alive.
#[pyfunction]
pub(crate) fn end_all(py: Python<'_>) {
    let slots: Vec<Arc<Slot>> = alive()
        .iter()
        .filter_map(|entry| entry.get(py).ok()?.upgrade())
        .collect();
    py.detach(|| {
        for slot in slots {
            let vm = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(vm) = vm.filter(qemu_machine::Machine::is_running) {
                // The program ends: nothing is left that could use the outcome.
                let _ = vm.kill().wait();
            }
        }
    });
}

fn alive() -> MutexGuard<'static, Vec<Owned<Weak<Slot>>>> {
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

static ALIVE: Mutex<Vec<Owned<Weak<Slot>>>> = Mutex::new(Vec::new());
