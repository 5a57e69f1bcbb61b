//! `completion`: what a shell knows of this command.
//!
//! The scripts are clap's, with a mend for each shell where they lack something.
//! A test loads them in the real shells.

use clap::builder::PossibleValue;
use clap::{Arg, Args, Command};
use clap_complete::Shell;

use crate::arguments;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Prints a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completion {
    /// Which shell
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  source <(qemu-machine completion bash)
  qemu-machine completion zsh > ~/.zfunc/_qemu-machine
  qemu-machine completion fish > ~/.config/fish/completions/qemu-machine.fish";

impl Completion {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let mut script = Vec::new();
        let mut command = arguments::command();
        clap_complete::generate(self.shell, &mut command, "qemu-machine", &mut script);
        let script = String::from_utf8_lossy(&script);
        let mended = match self.shell {
            Shell::Bash => mend_bash(&script),
            Shell::Fish => mend_fish(&script, &command),
            Shell::Zsh => mend_zsh(&script, &command),
            _ => script.into_owned(),
        };
        output::write(mended.as_bytes())?;
        Ok(Outcome::Succeeded)
    }
}

/// A command with a hyphen has one name where the script looks for its verbs,
/// and another where it completes them: nothing after a verb is completed
/// (clap's issue 6421). And bash splits `--option=value` into three words, so
/// the option is not the previous word.
fn mend_bash(script: &str) -> String {
    let script = script.replace("qemu__subcmd__machine", "qemu__machine");
    let previous = "    prev=\"$3\"\n";
    let option = "    [[ $prev == = ]] && prev=\"${COMP_WORDS[COMP_CWORD-2]}\"\n";
    script.replacen(previous, &[previous, option].concat(), 1)
}

/// The values of a verb's arguments without a name are not offered.
fn mend_fish(script: &str, command: &Command) -> String {
    let line = |verb: &Command| {
        let values = verb.get_positionals().flat_map(Arg::get_possible_values);
        let values: Vec<PossibleValue> = values.collect();
        let names: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
        let condition = format!("__fish_qemu_machine_using_subcommand {}", verb.get_name());
        let names = names.join(" ");
        let has_values = !names.is_empty();
        has_values
            .then(|| format!("complete -c qemu-machine -n \"{condition}\" -f -a \"{names}\"\n"))
    };
    let lines = command.get_subcommands().filter_map(line);
    lines.fold(script.to_owned(), |script, line| script + &line)
}

/// The value of an option that needs `=` is expected in the next word, too.
fn mend_zsh(script: &str, command: &Command) -> String {
    let options = command.get_subcommands().flat_map(Command::get_opts);
    let names = options
        .filter(|it| it.is_require_equals_set())
        .filter_map(Arg::get_long);
    names.fold(script.to_owned(), |script, name| {
        script.replace(&format!("--{name}=["), &format!("--{name}=-["))
    })
}
