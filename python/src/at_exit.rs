//! The end of the interpreter: it ends all machines that are still alive.
//!
//! The drop of a machine ends it too. But Python may not collect every object
//! before the process ends. If the process is killed, the library's guardian ends
//! the machines.
//!
//! Daemon threads still run then. Python ends such a thread when it asks for the
//! interpreter's lock: by unwinding, which must not happen in a Rust function. So
//! they never return from a wait, and each that makes a result finishes first.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use pyo3::prelude::*;
use qemu_machine::Wait;

use crate::{launched, raise, report};

/// Ends all machines of this process that are alive. Other threads do not return
/// from their waits any more.
#[pyfunction]
pub(crate) fn end_all(py: Python<'_>) -> PyResult<()> {
    // Objects that are collected later may still ask for the reports.
    report::class(py)?;
    raise::classes(py)?;
    let machines = launched::all(py);
    IS_LAST.set(true);
    ENDING.store(true, Ordering::SeqCst);
    py.detach(|| {
        wait_for_results();
        for one in machines {
            if one.vm.is_running() {
                // The program ends: nothing is left that could use the outcome.
                let _ = one.vm.kill().wait();
            }
        }
    });
    Ok(())
}

/// A result that is being made, with the interpreter's lock.
#[derive(Debug)]
pub(crate) struct MakingResult(());

impl MakingResult {
    /// Call it without the interpreter's lock. At the end of the interpreter it
    /// never returns, except in the last thread.
    pub(crate) fn begin() -> Self {
        MAKING.fetch_add(1, Ordering::SeqCst);
        let making = Self(());
        if ENDING.load(Ordering::SeqCst) && !IS_LAST.get() {
            drop(making);
            loop {
                thread::park();
            }
        }
        making
    }
}

impl Drop for MakingResult {
    fn drop(&mut self) {
        MAKING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits until no other thread makes a result. That takes microseconds, but a fork
/// may have copied the number without the threads.
fn wait_for_results() {
    let begun = Instant::now();
    while MAKING.load(Ordering::SeqCst) > 0 && begun.elapsed() < Duration::from_millis(200) {
        // It is done once in the life of a process, so the other side, which makes
        // every result, does not notify.
        thread::sleep(Duration::from_millis(1));
    }
}

thread_local! {
    /// Whether this thread ends the interpreter.
    static IS_LAST: Cell<bool> = const { Cell::new(false) };
}

/// Whether the interpreter ends.
static ENDING: AtomicBool = AtomicBool::new(false);
/// How many threads make a result.
static MAKING: AtomicUsize = AtomicUsize::new(0);
