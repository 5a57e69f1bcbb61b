//! What errors show of a running machine: the last output of QEMU and its
//! consoles.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use qemu_qmp::Deadlines;
use qemu_qmp::supervise::PeerContext;

use crate::life::ObservedState;
use crate::life::Tails;
use crate::life::{IfPaused, PausedForGood};
use crate::output::Output;

/// What a channel knows about its machine.
#[derive(Clone)]
pub(crate) struct MachineFacts {
    pub(crate) deadlines: Deadlines,
    pub(crate) observed: ObservedState,
    pub(crate) context: MachineContext,
}

/// What errors show of a machine. It does not keep the consoles alive.
#[derive(Debug, Clone)]
pub(crate) struct MachineContext {
    pub(crate) machine: String,
    pub(crate) output: Output,
    observed: ObservedState,
    consoles: Arc<Mutex<Vec<Weak<dyn Seen>>>>,
}

impl MachineContext {
    /// For a machine of this name, whose consoles are [added](Self::add) later.
    pub(crate) fn new(machine: &str, output: Output, observed: ObservedState) -> Self {
        Self {
            machine: machine.to_owned(),
            output,
            observed,
            consoles: Arc::default(),
        }
    }

    /// Why only a reset makes the guest run again, if so.
    pub(crate) fn paused_for_good(&self) -> Option<PausedForGood> {
        self.observed.paused_for_good()
    }

    pub(crate) fn add(&self, console: &Arc<dyn Seen>) {
        self.lock().push(Arc::downgrade(console));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<dyn Seen>>> {
        self.consoles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PeerContext for MachineContext {
    fn name(&self) -> String {
        format!("machine '{}'", self.machine)
    }

    fn seen(&self) -> String {
        let consoles: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        let (console, named) = tails(consoles.iter().map(|console| &**console));
        let tails = Tails {
            output: &self.output.tail(),
            console: &console,
            named: &named,
        };
        format!("{}{tails}", IfPaused(&self.observed.guest()))
    }
}

/// A console, as errors and reports show it.
pub(crate) trait Seen: Send + Sync {
    /// Its name; `None` for the first console.
    fn name(&self) -> Option<&str>;

    /// Its last 4 KiB.
    fn tail(&self) -> Vec<u8>;
}

/// The tails of these consoles: of the first, and of the others with their
/// names.
pub(crate) fn tails<'a>(
    consoles: impl IntoIterator<Item = &'a dyn Seen>,
) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
    let (mut first, mut named) = (Vec::new(), Vec::new());
    for console in consoles {
        match console.name() {
            Some(name) => named.push((name.to_owned(), console.tail())),
            None => first = console.tail(),
        }
    }
    (first, named)
}
