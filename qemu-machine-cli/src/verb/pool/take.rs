//! `pool take`.

use std::fmt;
use std::time::Duration;

use clap::Args;
use qemu_machine::{Wait, registry};
use serde::Serialize;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{duration, output};

/// Takes a machine of a pool, and prints its name.
///
/// It is yours alone. If none is ready, the pool makes one first.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Take {
    /// The pool's name
    #[arg(value_name = "POOL")]
    pool: String,

    /// Gives up after this time: 90, 500ms, 5m
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "2m")]
    timeout: Duration,

    /// Prints the machine as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Example:
  machine=$(qemu-machine pool take tests)
  qemu-machine exec $machine -- make test
  qemu-machine stop $machine";

/// A machine that was taken.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct TakenMachine {
    /// The machine's name.
    name: String,
    /// The process that owns the pool, and so the machine.
    owner_pid: u32,
    /// The process of QEMU.
    pid: u32,
}

impl fmt::Display for TakenMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Take {
    pub(super) fn run(self) -> Result<Outcome, Failure> {
        let pool = registry::find_pool(&self.pool).map_err(Failure::failed)?;
        let taken = pool.take().timeout(self.timeout).wait();
        let taken = taken.map_err(|error| Failure::new(Outcome::of(error.kind()), error))?;
        let entry = taken.entry();
        let machine = TakenMachine {
            name: entry.name.clone(),
            owner_pid: entry.owner_pid,
            pid: entry.pid,
        };
        let printed = output::print(&machine, self.json);
        if printed.is_err() {
            // Nobody knows its name.
            let _ = taken.kill().wait();
        }
        printed.map(|()| Outcome::Succeeded)
    }
}
