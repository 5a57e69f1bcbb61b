//! `exec`: a command in the guest of a machine that runs.

use clap::Args;

use super::console::interrupted;
use super::published::find;
use super::way::{LockedShell, Way, WayOptions};
use super::{agent, quote};
use crate::attention::Attention;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Runs a command in the guest of a machine.
///
/// Its output and status become ours.
/// By the guest agent if it answers, and otherwise by the shell on the console. There, both streams of the command are one, and one
/// command runs at a time.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExecInGuest {
    /// The machine's name
    name: String,

    #[command(flatten)]
    way: WayOptions,

    /// Gives the command our standard input; needs the agent
    #[arg(short, long, conflicts_with_all = ["console", "login"])]
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
        match self.way.find(&machine, &attention)? {
            Way::Agent(agent) => agent::exec(&agent, self.input, &[], &self.command),
            Way::Shell(_) if self.input => Err(Failure::failed(
                "the guest agent does not answer, and a shell on the console takes no input",
            )),
            Way::Shell(shell) => by_shell(*shell, &self.command, &attention),
        }
    }
}

fn by_shell(
    mut locked: LockedShell,
    command: &[String],
    attention: &Attention,
) -> Result<Outcome, Failure> {
    let words: Vec<_> = command.iter().map(|word| quote::word(word)).collect();
    let run = locked.shell.run(words.join(" ")).timeout(None);
    let ran = match attention.wait(run) {
        Ok(ran) => ran.map_err(not_run)?,
        Err(call) => {
            // The command must not hold the console after us.
            let _ = attention.wait(locked.shell.recover());
            return interrupted(call);
        }
    };
    if ran.dropped_bytes > 0 {
        let lost = ran.dropped_bytes;
        let message = format!("the first {lost} bytes of the output are lost");
        return Err(Failure::new(Outcome::Broken, message));
    }
    output::write(&ran.output)?;
    Ok(Outcome::Exit(ran.status.into()))
}

/// The command did not come to its end. Status 1 would be the command's.
fn not_run(error: qemu_machine::error::ShellError) -> Failure {
    let failure = super::qmp::failed(error);
    match failure.outcome {
        Outcome::Failed => Failure {
            outcome: Outcome::Broken,
            ..failure
        },
        _ => failure,
    }
}
