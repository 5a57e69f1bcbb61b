//! `reset`, `pause` and `resume`: one command to the monitor of machines.

use std::time::Duration;

use clap::Args;
use qemu_machine::Wait;

use super::published::{Names, names_usage, not_connected};
use super::qmp::failed;
use crate::exit::Outcome;
use crate::failure::Failure;

/// Resets machines, as their reset button does.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine reset web", override_usage = names_usage("reset"))]
pub(crate) struct Reset {
    #[command(flatten)]
    names: Names,
}

/// Pauses the guests of machines.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine pause --all", override_usage = names_usage("pause"))]
pub(crate) struct Pause {
    #[command(flatten)]
    names: Names,
}

/// Lets paused guests run again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine resume web", override_usage = names_usage("resume"))]
pub(crate) struct Resume {
    #[command(flatten)]
    names: Names,
}

impl Reset {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        execute(&self.names, "system_reset")
    }
}

impl Pause {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        execute(&self.names, "stop")
    }
}

impl Resume {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        execute(&self.names, "cont")
    }
}

fn execute(names: &Names, command: &str) -> Result<Outcome, Failure> {
    names.each(|machine| {
        let connect = machine.monitor().timeout(PATIENCE);
        let connected = connect.wait();
        let monitor = connected.map_err(|error| not_connected(machine, PATIENCE, error))?;
        let executed = monitor.execute_json(command, ()).wait();
        executed.map(drop).map_err(failed)
    })
}

/// How long the owner may take to serve the monitor.
const PATIENCE: Duration = Duration::from_secs(30);
