//! The machines of this process that Python has, and whether it knows of their end.

use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use pyo3::prelude::*;
use qemu_machine::{ExitReport, Machine};

use crate::owned::Owned;

/// A machine that was launched for Python.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) vm: Machine,
    /// Whether an exception with its report was raised.
    is_told: AtomicBool,
}

impl Launched {
    /// Remembers a machine until it is collected.
    pub(crate) fn remember(vm: Machine) -> Arc<Self> {
        let launched = Arc::new(Self {
            vm,
            is_told: AtomicBool::new(false),
        });
        let mut alive = alive();
        alive.retain(|entry| entry.peek().is_some_and(|it| it.strong_count() > 0));
        alive.push(Owned::new(Arc::downgrade(&launched)));
        launched
    }

    /// Whether an exception with the report of its end was raised, by any operation.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told.load(Ordering::Relaxed)
    }
}

/// All of them that are alive. Drop the list without the interpreter's lock: it may
/// have the last reference to a machine, whose drop waits.
pub(crate) fn all(py: Python<'_>) -> Vec<Arc<Launched>> {
    alive()
        .iter()
        .filter_map(|entry| entry.get(py).ok()?.upgrade())
        .collect()
}

/// An exception with this report is raised.
pub(crate) fn tell(py: Python<'_>, report: &ExitReport) {
    let launched = all(py);
    py.detach(move || {
        for one in launched {
            // All errors of a machine share its report.
            let own = one.vm.report();
            if own.is_some_and(|own| ptr::eq(Arc::as_ptr(&own), report)) {
                one.is_told.store(true, Ordering::Relaxed);
            }
        }
    });
}

fn alive() -> MutexGuard<'static, Vec<Owned<Weak<Launched>>>> {
    ALIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

static ALIVE: Mutex<Vec<Owned<Weak<Launched>>>> = Mutex::new(Vec::new());
