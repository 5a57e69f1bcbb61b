//! The arguments of `qemu-machine`.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgMatches, Command, CommandFactory, FromArgMatches, Parser};

use crate::config;
use crate::failure::Failure;
use crate::help;
use crate::verb::{self, Verb};

/// Runs QEMU virtual machines, and speaks with them.
///
/// Standard output has what was asked for, standard error all else. With no
/// arguments, `run` runs a tiny guest that is built in.
#[derive(Debug, Parser)]
#[command(name = "qemu-machine", version, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine run
  qemu-machine run --drive disk.qcow2 --memory 1G --interact
  qemu-machine doctor
  qemu-machine run --help";

/// The description of all arguments.
pub(crate) fn command() -> Command {
    help::on_one_screen(full_command())
}

/// The same for a manual, which has room for everything.
pub(crate) fn full_command() -> Command {
    verb::with_schema_option(Arguments::command())
}

/// The word that makes a process the owner of a detached run. It stands before
/// all others, and people do not see it.
pub(crate) const OWNER: &str = "--owner";

/// The word before a line whose next word a completion script asks for. It
/// stands before all others, too.
pub(crate) const NAMES: &str = "--names";

/// Takes that word out of the words; whether it was there.
pub(crate) fn take_owner(words: &mut Vec<OsString>) -> bool {
    let is_owner = words.get(1).is_some_and(|word| word == OWNER);
    if is_owner {
        words.remove(1);
    }
    is_owner
}

/// Why there are no arguments to use.
pub(crate) enum Refused {
    /// They are wrong, or ask for help.
    Usage(clap::Error),
    /// The configuration that they name cannot be used.
    Failure(Failure),
}

/// Reads the arguments, with those of the target that they name.
pub(crate) fn read(words: &[OsString]) -> Result<Arguments, Refused> {
    let mut matches = matched(words)?;
    if let Some(words) = config::expand(words, &matches)? {
        matches = matched(&words)?;
    }
    let read = Arguments::from_arg_matches(&matches);
    Ok(read.map_err(|error| {
        let mut command = command();
        command.build();
        let verb = matches.subcommand_name();
        match verb.and_then(|name| command.find_subcommand_mut(name)) {
            Some(verb) => error.format(verb),
            None => error,
        }
    })?)
}

fn matched(words: &[OsString]) -> Result<ArgMatches, clap::Error> {
    let matches = command().try_get_matches_from(words);
    matches.map_err(|mut error| {
        if let Some(tip) = tip(&error, words) {
            let tip = ContextValue::StyledStrs(vec![tip.into()]);
            error.insert(ContextKind::Suggested, tip);
        }
        error
    })
}

/// How to give an option a value that begins with a hyphen. clap takes the value
/// for an option that does not exist, and its own tip makes it an argument of
/// QEMU.
fn tip(error: &clap::Error, words: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(unknown)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    if error.kind() != ErrorKind::UnknownArgument {
        return None;
    }
    let words = words.iter().skip(1).map(|it| it.to_str());
    let words = words.collect::<Option<Vec<_>>>()?;
    let mut full = command();
    full.build();
    let mut command = &full;
    for word in &words {
        command = command.find_subcommand(word).unwrap_or(command);
    }
    let words = words.iter().take_while(|it| **it != "--");
    let words: Vec<_> = words.collect();
    words.windows(2).find_map(|pair| {
        let [option, value] = *<&[_; 2]>::try_from(pair).ok()?;
        let is_meant = value.starts_with(unknown.as_str()) && takes_value(command, option);
        is_meant.then(|| format!("to pass '{value}' as a value, use '{option}={value}'"))
    })
}

/// Whether the word is an option of this verb, and the next word its value.
fn takes_value(command: &Command, word: &str) -> bool {
    let is_named = |it: &&Arg| {
        let long = it.get_long().map(|name| format!("--{name}"));
        let short = it.get_short().map(|letter| format!("-{letter}"));
        [long, short].into_iter().flatten().any(|name| name == word)
    };
    let option = command.get_arguments().find(is_named);
    option.is_some_and(|it| it.get_action().takes_values() && !it.is_require_equals_set())
}

impl From<clap::Error> for Refused {
    fn from(error: clap::Error) -> Self {
        Self::Usage(error)
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}
