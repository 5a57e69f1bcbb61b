//! `screenshot`: what a QEMU that runs shows.

use std::path::PathBuf;

use clap::Args;
use qemu_machine::Wait;

use super::picture::{self, Head};
use super::qmp::Server;
use crate::exit::Outcome;
use crate::failure::Failure;

/// Takes a picture of a QEMU's display.
///
/// It is a PNG if the file's name ends so, and a PPM otherwise.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine screenshot qmp.sock screen.png")]
pub(crate) struct Screenshot {
    #[command(flatten)]
    server: Server,

    /// Where the picture goes
    file: PathBuf,

    #[command(flatten)]
    head: Head,
}

impl Screenshot {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let display = self.head.display(&self.server.connect()?)?;
        let taken = display.screenshot().timeout(self.server.timeout).wait();
        picture::write(&taken.map_err(picture::failed)?, &self.file)?;
        Ok(Outcome::Succeeded)
    }
}
