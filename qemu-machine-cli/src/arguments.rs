//! The command line of the command itself.

use std::ffi::OsString;

use clap::Parser;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::verb::Verb;

/// Runs QEMU virtual machines, and speaks with them.
///
/// Standard output has what was asked for, standard error all else. With no
/// arguments, `run` runs a tiny guest that is built in.
#[derive(Debug, Parser)]
#[command(name = "qemu-machine", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Whether this process owns the machine of a detached run.
    #[arg(skip)]
    is_owner: bool,

    #[command(subcommand)]
    verb: Verb,
}

/// The option that makes a process the owner of a detached run. It stands
/// before all others, and people do not see it.
pub(crate) const OWNER: &str = "--owner";

impl Arguments {
    /// Reads them from the command line.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let mut words: Vec<OsString> = std::env::args_os().collect();
        let is_owner = words.get(1).is_some_and(|word| word == OWNER);
        if is_owner {
            words.remove(1);
        }
        let arguments = Self::try_parse_from(words)?;
        Ok(Self {
            is_owner,
            ..arguments
        })
    }

    /// Does what is asked.
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        match self.verb {
            Verb::Run(run) if self.is_owner => run.own(),
            verb => verb.run(),
        }
    }
}
