//! `qom`: QEMU's object model.

mod list;
mod mount;
mod property;
mod tree;
mod value;

use clap::{Args, Subcommand};

use crate::exit::Outcome;
use crate::failure::Failure;

/// Reads and sets the objects of a QEMU, which are a tree.
///
/// A path without a slash at its beginning is the end of a path, if only one
/// object has it: a device's id is enough.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Qom {
    #[command(subcommand)]
    task: Task,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine qom list qmp.sock /machine
  qemu-machine qom tree qmp.sock /machine/peripheral --values
  qemu-machine qom get qmp.sock /machine.type
  qemu-machine qom get qmp.sock disk0 drive
  qemu-machine qom set qmp.sock balloon0.guest-stats-polling-interval 2";

/// What to do with the objects.
#[derive(Debug, Subcommand)]
enum Task {
    List(list::List),
    Tree(tree::Tree),
    Get(property::Get),
    Set(property::Set),
    Mount(mount::Mount),
}

impl Qom {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        match self.task {
            Task::List(task) => task.run(),
            Task::Tree(task) => task.run(),
            Task::Get(task) => task.run(),
            Task::Set(task) => task.run(),
            Task::Mount(task) => task.run(),
        }
    }
}
