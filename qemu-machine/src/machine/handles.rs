//! The callers' handles on a machine's channels.

use std::sync::OnceLock;

use qemu_qmp::agent::GuestAgent;
use qemu_qmp::{Client, Deadlines};

use crate::channel::{MachineContext, absent_agent};
use crate::console::Console;
use crate::qtest::Qtest;

/// The callers' handles on a machine's channels.
#[derive(Debug, Default)]
pub(crate) struct Handles {
    pub(crate) consoles: Vec<(String, Console)>,
    pub(crate) monitors: Vec<(String, Client)>,
    pub(crate) qtest: Option<Qtest>,
    pub(crate) agent: OnceLock<GuestAgent>,
}

impl Handles {
    /// The guest agent of a machine of which `context` knows.
    pub(crate) fn agent(
        &self,
        deadlines: &Deadlines,
        context: impl FnOnce() -> MachineContext,
    ) -> &GuestAgent {
        self.agent
            .get_or_init(|| absent_agent(deadlines, context()))
    }

    /// Every console: this one, the first, and then the others.
    pub(crate) fn all_consoles(&self, first: &Console) -> Vec<Console> {
        let named = self.consoles.iter().map(|(_, console)| console);
        std::iter::once(first).chain(named).cloned().collect()
    }
}
