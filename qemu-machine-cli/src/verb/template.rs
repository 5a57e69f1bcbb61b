//! `template`: the frozen guests that `clone` starts from.

mod described;
mod list;
mod remove;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use qemu_machine::error::TemplateError;
use qemu_machine::template::TemplateStore;

pub(super) use described::DescribedTemplate;

use super::run::Make;
use crate::exit::Outcome;
use crate::failure::Failure;

/// Makes templates, and looks after those that are kept.
///
/// A template is a guest that was booted once and frozen: its memory, devices
/// and disks. `clone` starts machines from it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Templates {
    #[command(subcommand)]
    task: Task,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine template make web --drive disk.qcow2 --memory 1G --login root
  qemu-machine template list
  qemu-machine template show web
  qemu-machine template prune --size 2G";

/// What to do with templates.
#[derive(Debug, Subcommand)]
enum Task {
    Make(Box<Make>),
    List(list::List),
    Show(list::Show),
    Remove(remove::Remove),
    Prune(remove::Prune),
}

impl Templates {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        match self.task {
            Task::Make(task) => task.run(),
            Task::List(task) => task.run(),
            Task::Show(task) => task.run(),
            Task::Remove(task) => task.run(),
            Task::Prune(task) => task.run(),
        }
    }
}

/// Which store.
#[derive(Debug, Clone, Args)]
pub(super) struct StoreOption {
    /// The directory of the templates; ~/.cache/qemu-machine/templates
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    store: Option<PathBuf>,
}

impl StoreOption {
    /// Opens a store to look into it. A directory that was given must be there.
    pub(super) fn open_existing(&self) -> Result<TemplateStore, Failure> {
        match &self.store {
            Some(directory) if !directory.is_dir() => Err(Failure::failed(format_args!(
                "there is no store of templates at {}",
                directory.display()
            ))),
            _ => self.open(),
        }
    }

    /// Opens a store to make a template in it.
    pub(super) fn open(&self) -> Result<TemplateStore, Failure> {
        match &self.store {
            Some(directory) => TemplateStore::at(directory).map_err(Failure::failed),
            None => TemplateStore::user().map_err(|error| not_writable(&error, ANOTHER_STORE)),
        }
    }
}

/// Opens the user's store, for a verb without --store.
pub(super) fn user_store() -> Result<TemplateStore, Failure> {
    TemplateStore::user().map_err(|error| not_writable(&error, ANOTHER_CACHE))
}

/// The default directory cannot be made.
fn not_writable(error: &TemplateError, advice: &str) -> Failure {
    Failure::failed(format_args!("{error}\n  advice: {advice}"))
}

const ANOTHER_CACHE: &str = "set XDG_CACHE_HOME to a directory that can be written";
const ANOTHER_STORE: &str =
    "set XDG_CACHE_HOME to a directory that can be written, or name one with --store";

/// What the tasks print as JSON.
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(untagged)]
#[expect(
    dead_code,
    clippy::large_enum_variant,
    reason = "its schema alone is of use"
)]
pub(super) enum Output {
    Template(DescribedTemplate),
    Removed(remove::Removed),
}
