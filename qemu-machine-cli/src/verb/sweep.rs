//! `sweep`: what dead owners have left.

use std::fmt;

use clap::Args;
use qemu_machine::registry;
use serde::Serialize;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Removes the folders of machines whose owner was killed, and prints their
/// names.
///
/// Their QEMUs have ended with the owner. Every `run` does the same first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine sweep")]
pub(crate) struct Sweep {
    /// Prints each name as JSON, in a line
    #[arg(long)]
    json: bool,
}

/// A machine whose folder was removed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Swept {
    name: String,
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Sweep {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        for name in registry::sweep().map_err(Failure::failed)? {
            output::print(&Swept { name }, self.json)?;
        }
        Ok(Outcome::Succeeded)
    }
}
