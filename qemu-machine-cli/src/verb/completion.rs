//! `completion`: what a shell knows of this command.
//!
//! The scripts are clap's, with a mend for each shell where they lack something.
//! For the names of machines, templates and targets they ask this command
//! (`names`). A test loads them in the real shells.

pub(super) mod names;

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
        let mended = mended.replace("NAMES_OPTION", arguments::NAMES);
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
    let script = script.replacen(previous, &[previous, option].concat(), 1);
    let script = script.replace(
        "complete -F _qemu__machine ",
        "complete -F _qemu_machine_line ",
    );
    BASH_NAMES.to_owned() + &script
}

/// Names after what clap's function offers. A name may have letters that mean
/// something in bash, so it is compared as a text.
const BASH_NAMES: &str = r#"_qemu_machine_line() {
    local name names typed="${COMP_WORDS[COMP_CWORD]}"
    _qemu__machine "$@"
    [[ $typed == -* || $typed == = ]] && return
    names=$("$1" NAMES_OPTION "${COMP_WORDS[@]:1:COMP_CWORD-1}" 2>/dev/null)
    while IFS= read -r name; do
        [[ -n $name && $name == "$typed"* ]] && COMPREPLY+=("$name")
    done <<<"$names"
    return 0
}

"#;

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
    lines.fold(script.to_owned() + FISH_NAMES, |script, line| {
        script + &line
    })
}

/// The words before the cursor, without the command.
const FISH_NAMES: &str = "\
function __fish_qemu_machine_names
    set -l words (commandline -xpc 2>/dev/null; or commandline -opc)
    command $words[1] NAMES_OPTION $words[2..] 2>/dev/null
end
complete -c qemu-machine -a '(__fish_qemu_machine_names)'
";

/// The value of an option that needs `=` is expected in the next word, too.
fn mend_zsh(script: &str, command: &Command) -> String {
    let options = command.get_subcommands().flat_map(Command::get_opts);
    let names = options
        .filter(|it| it.is_require_equals_set())
        .filter_map(Arg::get_long);
    let script = names.fold(script.to_owned(), |script, name| {
        script.replace(&format!("--{name}=["), &format!("--{name}=-["))
    });
    // The file is loaded at its first use, and defines the function of its name.
    let own = script.replacen("\n_qemu-machine() {", "\n_qemu_machine_clap() {", 1);
    let (functions, start) = own.split_at(own.rfind("if [ ").unwrap_or(own.len()));
    [functions, ZSH_NAMES, start].concat()
}

/// Names, and then what clap's function offers, which changes the words.
const ZSH_NAMES: &str = r#"_qemu-machine() {
    local -a names
    local result=1
    names=("${(@f)$("${(Q)words[1]}" NAMES_OPTION "${(@Q)words[2,CURRENT-1]}" 2>/dev/null)}")
    names=("${(@)names:#}")
    (( $#names )) && compadd -- "${names[@]}" && result=0
    _qemu_machine_clap "$@" && result=0
    return result
}

"#;
