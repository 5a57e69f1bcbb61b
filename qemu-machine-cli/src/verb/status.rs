//! `status`: one machine that runs.

use std::fmt;

use clap::Args;
use qemu_machine::Wait;
use serde::Serialize;

use super::published::{Described, State, age, find, in_short};
use super::qmp::failed;
use super::quote;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Says how a machine is, and what is known about it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine status web --json | jq -r .state")]
pub(crate) struct Status {
    /// The machine's name
    name: String,

    /// Prints it as JSON, in one line
    #[arg(long)]
    json: bool,
}

/// A machine that runs, and how it is.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct MachineStatus {
    #[serde(flatten)]
    machine: Described,
    /// The state of the guest, for people.
    guest: String,
    /// How long QEMU has run.
    uptime_seconds: f64,
    #[serde(skip)]
    age: String,
    #[serde(skip)]
    folder: String,
}

/// A line to paste into a shell.
fn shell_line(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| quote::if_needed(word)).collect();
    words.join(" ")
}

impl Status {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let machine = find(&self.name)?;
        let status = machine.status().wait().map_err(failed)?;
        let entry = &status.machine;
        let described = MachineStatus {
            machine: Described::new(entry, State::of(&status.guest)),
            guest: status.guest.to_string(),
            uptime_seconds: status.uptime.as_secs_f64(),
            age: in_short(age(entry.since)),
            folder: machine.folder().display().to_string(),
        };
        output::print(&described, self.json)?;
        Ok(Outcome::Succeeded)
    }
}

impl fmt::Display for MachineStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let machine = &self.machine;
        let consoles = machine.consoles.iter();
        let consoles = consoles.map(|it| it.name.as_deref().unwrap_or("(the first)"));
        let consoles: Vec<_> = consoles.collect();
        let agent = if machine.has_guest_agent { "yes" } else { "no" };
        let rows = [
            ("name", &*machine.name),
            ("state", machine.state.word()),
            ("guest", &self.guest),
            ("age", &self.age),
            ("process", &machine.pid.to_string()),
            ("owner", &machine.owner_pid.to_string()),
            ("log", &machine.log),
            ("consoles", &consoles.join(", ")),
            ("agent port", agent),
            ("sockets", &self.folder),
            ("command", &shell_line(&machine.command_line)),
        ];
        for (key, value) in rows {
            writeln!(f, "{key:10}  {value}")?;
        }
        Ok(())
    }
}
