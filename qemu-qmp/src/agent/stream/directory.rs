//! The private directory of one stream, and its removal.

use std::hash::{BuildHasher, RandomState};

use serde_json::json;

use super::super::{Exec, GuestAgent};
use super::{EXEC, SHELL, script};

/// The private directory in the guest, also while its script has not made it yet.
/// It is removed if this is dropped.
pub(super) struct Directory {
    name: String,
    /// `None` if its script removes it.
    agent: Option<GuestAgent>,
}

impl Directory {
    pub(super) fn new(agent: GuestAgent) -> Self {
        let random = RandomState::new().hash_one(());
        Self {
            name: format!("qemu-qmp-{random:016x}"),
            agent: Some(agent),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The name of the directory of the input.
    pub(super) fn input_name(&self) -> String {
        // The clean-up knows it too.
        format!("{}-input", self.name)
    }

    /// Removes it, and ends its script. `program` is the program to end too.
    pub(super) fn clean_up(&self, agent: GuestAgent, program: Option<i64>) -> Exec {
        Exec::new(agent, SHELL.to_owned()).args(self.clean_up_words(program))
    }

    /// Leaves it to its script.
    pub(super) fn leave(&mut self) {
        self.agent = None;
    }

    fn clean_up_words(&self, program: Option<i64>) -> Vec<String> {
        let program = program.map(|pid| pid.to_string()).unwrap_or_default();
        let words = ["-c", script::CLEAN_UP, SHELL, &self.name, &program];
        let words = words.into_iter().chain(script::BASES);
        words.map(ToOwned::to_owned).collect()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Some(agent) = &self.agent {
            let arguments = self.clean_up_words(None);
            let command = json!({"path": SHELL, "arg": arguments, "capture-output": false});
            agent.shared().execute_unattended(EXEC, &command);
        }
    }
}
