//! `pool list`.

use std::time::Duration;

use clap::Args;
use qemu_machine::registry::{self, PoolStatus};
use qemu_machine::{Wait, registry::PublishedPool};
use serde::Serialize;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;
use crate::verb::ps::table;
use crate::verb::published::at_once;

/// Lists the pools that run.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine pool list --json | jq '.ready'")]
pub(super) struct List {
    /// Prints only the names
    #[arg(short, long)]
    quiet: bool,

    /// Prints each pool as JSON, in a line
    #[arg(long)]
    json: bool,
}

/// A pool.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct DescribedPool {
    name: String,
    /// The process that owns the pool: a signal to it ends the pool.
    owner_pid: u32,
    /// The directory of its template.
    template: String,
    /// How many machines it keeps ready.
    size: u64,
    /// How many are ready.
    ready: u64,
    /// The names of the machines that were taken, and run.
    taken: Vec<String>,
}

impl List {
    pub(super) fn run(self) -> Result<Outcome, Failure> {
        let pools = registry::pools().map_err(Failure::failed)?;
        if self.quiet {
            for pool in &pools {
                output::line(pool.name())?;
            }
            return Ok(Outcome::Succeeded);
        }
        let mut outcome = Outcome::Succeeded;
        let mut described = Vec::new();
        for (pool, status) in pools.iter().zip(at_once(&pools, status)) {
            match status {
                Ok(status) => described.push(DescribedPool::new(pool, status)),
                // A pool that has just ended is not there.
                Err(error) if pool.is_alive() => {
                    output::error(error);
                    outcome = Outcome::Failed;
                }
                Err(_) => {}
            }
        }
        if self.json {
            for pool in &described {
                output::line(output::json(pool))?;
            }
        } else {
            let head = HEAD.map(str::to_owned);
            let rows = described.iter().map(DescribedPool::row);
            output::write(table(std::iter::once(head).chain(rows)).as_bytes())?;
        }
        Ok(outcome)
    }
}

fn status(pool: &PublishedPool) -> Result<PoolStatus, qemu_machine::error::PoolError> {
    pool.status().timeout(PATIENCE).wait()
}

impl DescribedPool {
    fn new(pool: &PublishedPool, status: PoolStatus) -> Self {
        Self {
            name: pool.name().to_owned(),
            owner_pid: status.owner_pid,
            template: status.template.to_string_lossy().into_owned(),
            size: status.size,
            ready: status.ready,
            taken: status.taken,
        }
    }

    fn row(&self) -> [String; 5] {
        [
            self.name.clone(),
            format!("{}/{}", self.ready, self.size),
            self.taken.len().to_string(),
            self.owner_pid.to_string(),
            self.template.clone(),
        ]
    }
}

const HEAD: [&str; 5] = ["NAME", "READY", "TAKEN", "OWNER", "TEMPLATE"];

/// How long an owner may take to say how its pool is.
const PATIENCE: Duration = Duration::from_secs(10);
