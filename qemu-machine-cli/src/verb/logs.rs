//! `logs`: what QEMU or a console of a machine has printed.

mod follow;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use qemu_machine::registry::PublishedMachine;

use super::console::{self, Which, connect};
use super::published::find;
use crate::attention::Attention;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Prints what QEMU itself has printed, or a console.
///
/// A console has a log if the machine was run with --log-dir. Without a log, a
/// console can be followed: first comes what its owner still has.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Logs {
    /// The machine's name
    name: String,

    /// Prints the log of the first console, or of the console with this name
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true,
          default_missing_value = "")]
    console: Option<Which>,

    /// Prints what follows, until the machine ends
    #[arg(short, long)]
    follow: bool,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine logs web
  qemu-machine logs web --console --follow
  qemu-machine logs web --console=debug -f";

impl Logs {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let machine = find(&self.name)?;
        match (self.log(&machine)?, self.follow) {
            (Some(log), true) => follow::follow(&machine, &log),
            (Some(log), false) => print(&log),
            (None, true) => self.follow_console(&machine),
            (None, false) => {
                let name = &self.name;
                Err(Failure::failed(format!(
                    "this console of machine '{name}' has no log; follow it with -f, or run the \
                     machine with --log-dir"
                )))
            }
        }
    }

    /// The name of the console; `None` is the first one.
    fn console_name(&self) -> Option<&str> {
        self.console.as_ref().and_then(Which::name)
    }

    /// The file of the log; `None` for a console without one.
    fn log(&self, machine: &PublishedMachine) -> Result<Option<PathBuf>, Failure> {
        if self.console.is_none() {
            return Ok(Some(machine.entry().log.clone()));
        }
        let console = console::entry(machine, self.console_name())?;
        Ok(console.log.clone())
    }

    fn follow_console(&self, machine: &PublishedMachine) -> Result<Outcome, Failure> {
        let attention = Attention::of_verb()?;
        let console = connect(machine, self.console_name(), PATIENCE, &attention)?;
        console::watch(&console, &attention)
    }
}

fn print(log: &Path) -> Result<Outcome, Failure> {
    let mut file = fs::File::open(log).map_err(|error| Failure::file("read", log, &error))?;
    output::copy(&mut file, log)?;
    Ok(Outcome::Succeeded)
}

/// How long the owner of a machine may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
