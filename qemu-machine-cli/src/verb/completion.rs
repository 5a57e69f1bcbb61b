//! `completion`: scripts with which shells complete this command.

use clap::Args;
use clap_complete::Shell;

use crate::arguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Prints a completion script for a shell.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  source <(qemu-machine completion bash)\n  qemu-machine completion fish > ~/.config/fish/completions/qemu-machine.fish"
)]
pub(crate) struct Completion {
    /// Which shell
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let mut script = Vec::new();
        let mut command = arguments::command();
        clap_complete::generate(self.shell, &mut command, "qemu-machine", &mut script);
        output::write(&script)?;
        Ok(Outcome::Succeeded)
    }
}
