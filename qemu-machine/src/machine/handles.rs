//! The callers' handles on a machine's channels.

use qemu_qmp::Client;
use qemu_qmp::agent::GuestAgent;

use crate::console::Console;
use crate::qtest::Qtest;

/// The callers' handles on a machine's channels.
#[derive(Debug)]
pub(crate) struct Handles {
    pub(crate) consoles: Vec<(String, Console)>,
    pub(crate) monitors: Vec<(String, Client)>,
    pub(crate) qtest: Qtest,
    pub(crate) agent: GuestAgent,
}

impl Handles {
    /// Every console: this one, the first, and then the others.
    pub(crate) fn all_consoles(&self, first: &Console) -> Vec<Console> {
        let named = self.consoles.iter().map(|(_, console)| console);
        std::iter::once(first).chain(named).cloned().collect()
    }
}
