//! What is known of a machine that lives: what QEMU and its consoles said last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use qemu_qmp::{Deadlines, Witness};

use super::{Console, Shared};
use crate::guest_state::{Hold, IfPaused};
use crate::heard::Heard;
use crate::output::Output;
use crate::report::Tails;

/// What a console needs to know of its machine.
#[derive(Clone)]
pub(crate) struct MachineFacts {
    pub(crate) deadlines: Deadlines,
    pub(crate) heard: Heard,
    pub(crate) witness: MachineWitness,
}

/// What errors tell of a machine. It does not keep the consoles.
#[derive(Debug, Clone)]
pub(crate) struct MachineWitness {
    pub(super) machine: String,
    pub(super) output: Output,
    heard: Heard,
    consoles: Arc<Mutex<Vec<Weak<Shared>>>>,
}

impl MachineWitness {
    /// Of a machine of this name, whose consoles will be
    /// [added](Self::add).
    pub(crate) fn new(machine: &str, output: Output, heard: Heard) -> Self {
        Self {
            machine: machine.to_owned(),
            output,
            heard,
            consoles: Arc::default(),
        }
    }

    /// Why QEMU holds the guest for good, if it does.
    pub(crate) fn hold(&self) -> Option<Hold> {
        self.heard.hold()
    }

    pub(super) fn add(&self, console: &Arc<Shared>) {
        self.lock().push(Arc::downgrade(console));
    }

    fn consoles(&self) -> Vec<Console> {
        let shared: Vec<_> = self.lock().iter().filter_map(Weak::upgrade).collect();
        shared
            .into_iter()
            .map(|shared| Console { shared })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Shared>>> {
        self.consoles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness for MachineWitness {
    fn name(&self) -> String {
        format!("machine '{}'", self.machine)
    }

    fn seen(&self) -> String {
        let (console, named) = Console::tails(&self.consoles());
        let tails = Tails {
            output: &self.output.tail(),
            console: &console,
            named: &named,
        };
        format!("{}{tails}", IfPaused(&self.heard.guest()))
    }
}
