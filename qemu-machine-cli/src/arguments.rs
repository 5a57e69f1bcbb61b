//! The command line of the command itself.

use std::ffi::OsString;

use clap::{Command, CommandFactory, FromArgMatches, Parser};

use crate::verb::{self, Verb};

/// Runs QEMU virtual machines, and speaks with them.
///
/// Standard output has what was asked for, standard error all else. With no
/// arguments, `run` runs a tiny guest that is built in.
#[derive(Debug, Parser)]
#[command(name = "qemu-machine", version, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The description of all arguments.
pub(crate) fn command() -> Command {
    verb::with_schema_option(Arguments::command())
}

/// Reads the arguments.
pub(crate) fn read(words: &[OsString]) -> Result<Arguments, clap::Error> {
    let matches = command().try_get_matches_from(words)?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command()))
}
