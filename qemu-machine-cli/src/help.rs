//! The help of each verb, on one screen: each option in its line. Options that
//! few need are hidden there; `--help-all` has them.

use std::ffi::OsString;

use clap::builder::StyledStr;
use clap::{Arg, ArgAction, Command};

/// Makes the help of a command and of its verbs short.
pub(crate) fn on_one_screen(command: Command) -> Command {
    short(command).mut_subcommands(verb)
}

fn verb(command: Command) -> Command {
    short(command)
        .disable_help_subcommand(true)
        .mut_subcommands(verb)
}

fn short(command: Command) -> Command {
    let has_hidden = command.get_arguments().any(Arg::is_hide_short_help_set);
    let about = command.get_long_about().or(command.get_about());
    let about = about.cloned().unwrap_or_default();
    let help = flag("help").short('h').action(ArgAction::HelpShort);
    let command = command
        .before_help(about)
        .help_template("{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}")
        .disable_help_flag(true)
        // Readers of it have found it.
        .arg(help.hide_short_help(true));
    if !has_hidden {
        return command;
    }
    let after = command.get_after_help().cloned().unwrap_or_default();
    let after = StyledStr::from(format!("{after}\nMore options: --help-all"));
    command.after_help(after).arg(flag(ALL))
}

fn flag(name: &'static str) -> Arg {
    let help = match name {
        ALL => "Prints the help with all options",
        _ => "Prints the help",
    };
    Arg::new(name)
        .long(name)
        .action(ArgAction::SetTrue)
        .hide_short_help(true)
        .help(help)
}

/// The words, of which `help VERB` is `VERB --help`.
pub(crate) fn as_option(words: Vec<OsString>) -> Vec<OsString> {
    match &*words {
        [own, help, verbs @ ..] if help == "help" => {
            let begin = std::iter::once(own).chain(verbs).cloned();
            begin.chain(["--help".into()]).collect()
        }
        _ => words,
    }
}

/// The help with all options, if these words ask for it.
pub(crate) fn asked(words: &[OsString], command: fn() -> Command) -> Option<StyledStr> {
    let [_, verb, option] = words else {
        return None;
    };
    if option.to_str()?.strip_prefix("--")? != ALL {
        return None;
    }
    let mut command = command();
    command.build();
    let verb = command.find_subcommand(verb)?.clone();
    let mut verb = verb.mut_args(|arg| arg.hide_short_help(false));
    Some(verb.render_help())
}

const ALL: &str = "help-all";
