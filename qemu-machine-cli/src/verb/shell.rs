//! `shell`: a shell in the guest of a machine that runs, for a person.

use std::io::{self, IsTerminal};

use clap::Args;

use super::console;
use super::published::find;
use super::way::ShellOptions;
use crate::attention::Attention;
use crate::exit::Outcome;
use crate::failure::Failure;

/// Hands a shell in the guest to the terminal, on the console of a machine.
///
/// It first makes sure that a shell is there, and logs in with --login. Ctrl-]
/// leaves the shell as it is, and the machine lives on. Until then, `exec` on
/// this console waits.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GuestShell {
    /// The machine's name
    name: String,

    #[command(flatten)]
    shell: ShellOptions,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine shell web
  qemu-machine shell web --login root:env:PASSWORD";

impl GuestShell {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        if !io::stdin().is_terminal() {
            return Err(Failure::usage(
                "standard input is no terminal: `exec` runs a command in the guest",
            ));
        }
        let machine = find(&self.name)?;
        let attention = Attention::of_verb()?;
        let locked = self.shell.open(&machine, &attention)?;
        let hint = "Ctrl-] leaves the shell; the machine lives on";
        console::attach(locked.shell.console(), &attention, hint)
    }
}
