//! `pool`: clones that are ready before they are asked for.

mod list;
mod stop;
mod take;

use clap::{Args, Subcommand};

use super::run::StartPool;
use crate::exit::Outcome;
use crate::failure::Failure;

/// Keeps clones of a template ready, and hands them out.
///
/// A machine is handed out once. It ends by `stop`, or with its pool.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Pools {
    #[command(subcommand)]
    task: Task,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine pool start web --size 4 --name tests --detach
  machine=$(qemu-machine pool take tests)
  qemu-machine exec $machine -- make test
  qemu-machine stop $machine
  qemu-machine pool stop tests";

/// What to do with pools.
#[derive(Debug, Subcommand)]
enum Task {
    Start(Box<StartPool>),
    Take(take::Take),
    List(list::List),
    Stop(stop::Stop),
}

impl Pools {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        match self.task {
            Task::Start(task) => task.run(),
            Task::Take(task) => task.run(),
            Task::List(task) => task.run(),
            Task::Stop(task) => task.run(),
        }
    }

    /// The same by the owner of a detached pool.
    pub(crate) fn own(self) -> Result<Outcome, Failure> {
        match self.task {
            Task::Start(task) => task.own(),
            _ => Err(Failure::usage("only `pool start` has an owner")),
        }
    }
}

/// What the tasks print as JSON.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "its schema alone is of use")]
pub(super) enum Output {
    Started(super::run::StartedPool),
    Taken(take::TakenMachine),
    Pool(list::DescribedPool),
    Stopped(stop::Stopped),
}
