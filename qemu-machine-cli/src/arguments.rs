//! The command line of the command itself.

use clap::Parser;

use crate::verb::Verb;

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
