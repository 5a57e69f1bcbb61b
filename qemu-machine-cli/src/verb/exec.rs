//! `exec`: a command in the guest of a machine that runs.

use clap::Args;

use super::published::find;
use super::quote;
use super::way::{Way, WayOptions};
use crate::attention::Attention;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::guest_command::{self, Unfinished};

/// Runs a command in the guest of a machine.
///
/// Its output and status become ours. It runs by the guest agent if that answers,
/// and otherwise by the shell on the console: there, one at a time, and the errors
/// come after the output.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExecInGuest {
    /// The machine's name
    name: String,

    #[command(flatten)]
    way: WayOptions,

    /// Gives the command our standard input
    #[arg(short, long)]
    input: bool,

    /// The command, and its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine exec web -- uname -r
  qemu-machine exec web -- sh -c 'dmesg | tail -3'
  qemu-machine exec web --login root:file:password -- id
  qemu-machine exec web --agent --input -- sort < names";

impl ExecInGuest {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let machine = find(&self.name)?;
        let attention = Attention::of_verb()?;
        let way = self.way.find(&machine, &attention)?;
        let input = if self.input {
            guest_command::standard_input()?
        } else {
            Vec::new()
        };
        match way {
            Way::Agent(agent) => {
                let [program, arguments @ ..] = &*self.command else {
                    return Err(Failure::usage("a command is needed"));
                };
                let exec = || agent.exec(program).args(arguments).input(input.clone());
                let ended = guest_command::by_agent(exec, &attention, || None)?;
                Ok(ended.outcome())
            }
            Way::Shell(mut locked) => {
                let words: Vec<_> = self.command.iter().map(|word| quote::word(word)).collect();
                let shell = &mut locked.shell;
                let none = || None;
                let script = words.join(" ");
                let ended = guest_command::by_shell(shell, &script, &input, &attention, none);
                if let Err(Unfinished::Called(_) | Unfinished::Output(_)) = ended {
                    // The command must not have the console after us.
                    let _ = attention.wait(shell.recover());
                }
                Ok(ended?.outcome())
            }
        }
    }
}
