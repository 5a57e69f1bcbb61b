//! The handles on the channels of a machine.

use qemu_qmp::Client;
use qemu_qmp::agent::GuestAgent;

use crate::console::Console;
use crate::qtest::Qtest;

/// The handles on the channels of a machine.
#[derive(Debug)]
pub(crate) struct Handles {
    pub(crate) consoles: Vec<(String, Console)>,
    pub(crate) monitors: Vec<(String, Client)>,
    pub(crate) qtest: Qtest,
    pub(crate) agent: GuestAgent,
    /// Whether the machine has a port for it.
    pub(crate) has_agent: bool,
}

impl Handles {
    /// All consoles: `first`, and then the others.
    pub(crate) fn all_consoles(&self, first: &Console) -> Vec<Console> {
        let named = self.consoles.iter().map(|(_, console)| console);
        std::iter::once(first).chain(named).cloned().collect()
    }
}
