//! `freeze`: makes a template of a machine that runs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};
use qemu_machine::Wait;
use qemu_machine::template::TemplateFacts;

use super::published::find;
use super::run::{keep_as_it_was, template_name};
use super::template::{DescribedTemplate, StoreOption};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{duration, output};

/// Freezes a machine that runs, keeps it as a template, and prints its key.
///
/// The machine ends, and `clone` goes on from there. It must be started with
/// --freezable, by `run`, `clone` or `pool start`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Freeze {
    /// The machine's name
    #[arg(value_name = "NAME")]
    name: String,

    /// The template's name for `clone`; by default that of the machine
    #[arg(long = "as", value_name = "TEMPLATE", value_parser = template_name)]
    template: Option<String>,

    /// Keeps it in this directory, which must not exist, and not in the store
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath, conflicts_with = "store")]
    directory: Option<PathBuf>,

    #[command(flatten)]
    store: StoreOption,

    /// Gives up after this time: 90, 500ms, 5m
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "2m")]
    timeout: Duration,

    /// Prints what the template is as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine run --detach --freezable --name web --drive disk.qcow2 --memory 1G
  qemu-machine freeze web --as ready
  qemu-machine clone ready --interact";

impl Freeze {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let machine = find(&self.name)?;
        let path = match &self.directory {
            Some(directory) => directory.clone(),
            None => self.store.open()?.unused_path().map_err(Failure::failed)?,
        };
        let mut freeze = machine.freeze(&path).timeout(self.timeout);
        if let Some(name) = &self.template {
            freeze = freeze.named(name);
        }
        let frozen = freeze.wait();
        frozen.map_err(|error| Failure::new(Outcome::of(error.kind()), error))?;
        let facts = TemplateFacts::read(&path).map_err(Failure::failed)?;
        if !facts.has_guest_agent {
            // Whatever runs in the console must not get a script.
            keep_as_it_was(&path);
        }
        let described = match &self.directory {
            Some(_) => DescribedTemplate::at(&path, facts),
            None => DescribedTemplate::in_store(&self.store.open()?, &path, facts)?,
        };
        output::print(&described.as_made(), self.json)?;
        Ok(Outcome::Succeeded)
    }
}
