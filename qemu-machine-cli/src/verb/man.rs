//! `man`: the manual of this command.

use clap::Args;
use clap_mangen::Man;

use crate::arguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::offered::Offered;
use crate::output;

/// Prints the manual page of this command, or of one verb, for man(1).
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine man run | man -l -")]
pub(crate) struct Manual {
    /// Which verb
    #[arg(value_parser = Offered(verbs), hide_possible_values = true)]
    verb: Option<String>,
}

fn verbs() -> Vec<String> {
    let command = arguments::command();
    let verbs = command.get_subcommands();
    verbs.map(|it| it.get_name().to_owned()).collect()
}

impl Manual {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let mut command = arguments::full_command();
        command.build();
        if let Some(verb) = &self.verb {
            let found = command.find_subcommand(verb);
            let found =
                found.ok_or_else(|| Failure::usage(format!("there is no verb '{verb}'")))?;
            command = found.clone();
        }
        let mut page = Vec::new();
        let rendered = Man::new(command).render(&mut page);
        rendered.map_err(|error| Failure::new(Outcome::Broken, error))?;
        output::write(&page)?;
        Ok(Outcome::Succeeded)
    }
}
