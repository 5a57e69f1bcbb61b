//! `pool stop`.

use std::fmt;

use clap::Args;
use qemu_machine::registry::PublishedPool;
use qemu_machine::{Wait, registry};
use serde::Serialize;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;
use crate::verb::published::at_once;

/// Ends pools with all of their machines, and prints their names.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine pool stop tests")]
pub(super) struct Stop {
    /// The pools' names
    #[arg(value_name = "POOL", required_unless_present = "all")]
    pools: Vec<String>,

    /// All pools that run
    #[arg(long, conflicts_with = "pools")]
    all: bool,

    /// Prints each name as JSON, in a line
    #[arg(long)]
    json: bool,
}

/// A pool that has ended.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct Stopped {
    name: String,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Stop {
    pub(super) fn run(self) -> Result<Outcome, Failure> {
        let mut outcome = Outcome::Succeeded;
        let mut failed = |error: &dyn fmt::Display| {
            output::error(error);
            outcome = Outcome::Failed;
        };
        let pools: Vec<PublishedPool> = if self.all {
            registry::pools().map_err(Failure::failed)?
        } else {
            let found = self.pools.iter().map(|name| registry::find_pool(name));
            let found = found.filter_map(|it| it.map_err(|error| failed(&error)).ok());
            found.collect()
        };
        let ends = at_once(&pools, |pool| pool.stop().wait());
        for (pool, end) in pools.iter().zip(ends) {
            let name = pool.name().to_owned();
            match end {
                Ok(()) => output::print(&Stopped { name }, self.json)?,
                Err(error) => failed(&error),
            }
        }
        Ok(outcome)
    }
}
