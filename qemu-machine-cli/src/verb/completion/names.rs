//! The names that exist now, for a completion script: of machines, templates and
//! targets.
//!
//! A script calls the command with a hidden word and with what was typed before
//! the cursor. The answer is a name a line, or nothing. It is quick, and never an
//! error: nobody could read it.

use std::ffi::OsString;

use clap::{Arg, Command};
use qemu_machine::registry;
use qemu_machine::template::{StoredTemplate, TemplateFacts, TemplateStore};

use crate::arguments::{self, NAMES};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{config, output};

/// Prints the names if these words ask for them.
pub(crate) fn asked(words: &[OsString]) -> Option<Result<Outcome, Failure>> {
    if words.get(1)? != NAMES {
        return None;
    }
    let words = words[2..].iter().map(|it| it.to_string_lossy());
    let words: Vec<_> = words.collect();
    let words: Vec<&str> = words.iter().map(|it| &**it).collect();
    let names = kind(&arguments::full_command(), &words).map_or_else(Vec::new, Kind::names);
    // A shell would take other names apart.
    let names = names.iter().filter(|it| !it.contains(char::is_whitespace));
    let lines = names.fold(String::new(), |lines, it| lines + it + "\n");
    Some(output::write(lines.as_bytes()).map(|()| Outcome::Succeeded))
}

/// What an argument is the name of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Machine,
    /// A file, or `NAME:PATH`.
    Place,
    Template,
    Target,
}

impl Kind {
    fn of(argument: &Arg) -> Option<Self> {
        let name = argument.get_value_names()?.first()?;
        match name.as_str() {
            "NAME" | "ADDRESS" => Some(Self::Machine),
            "FROM" | "TO" => Some(Self::Place),
            "TEMPLATE" => Some(Self::Template),
            "TARGET" => Some(Self::Target),
            _ => None,
        }
    }

    /// Those that exist. What cannot be read has none.
    fn names(self) -> Vec<String> {
        let machines = || {
            let machines = registry::list().unwrap_or_default().into_iter();
            machines.map(|it| it.name().to_owned())
        };
        match self {
            Self::Machine => machines().collect(),
            Self::Place => machines().map(|it| it + ":").collect(),
            Self::Template => {
                let all = TemplateStore::user().and_then(|store| store.list());
                let names = all.unwrap_or_default().into_iter();
                let name = |it: StoredTemplate| {
                    let facts = TemplateFacts::read(&it.path).ok();
                    facts.and_then(|it| it.name).unwrap_or(it.key)
                };
                names.map(name).collect()
            }
            Self::Target => config::target_names(),
        }
    }
}

/// What the next word is the name of, by the words before it. `None` if it is
/// something else, such as the value of an option.
fn kind(command: &Command, words: &[&str]) -> Option<Kind> {
    let mut verb = command;
    let mut position = 0;
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        if word == "--" {
            return None;
        }
        if word.len() > 1 && word.starts_with('-') {
            if option(verb, word).is_some_and(has_value_apart) {
                words.next()?;
            }
        } else if let Some(task) = verb.find_subcommand(word) {
            verb = task;
            position = 0;
        } else {
            position += 1;
        }
    }
    // The name of a template that is made is new.
    if verb.get_name() == "make" {
        return None;
    }
    let mut positionals = verb.get_positionals().filter(|it| !it.is_last_set());
    let next = positionals.nth(position).or_else(|| {
        let last = verb.get_positionals().filter(|it| !it.is_last_set()).last();
        last.filter(|it| takes_many(it))
    });
    Kind::of(next?)
}

/// The option that this word is.
fn option<'a>(verb: &'a Command, word: &str) -> Option<&'a Arg> {
    let mut options = verb.get_opts();
    match word.strip_prefix("--") {
        Some(long) => options.find(|it| it.get_long() == Some(long)),
        None => options.find(|it| it.get_short() == word.chars().last()),
    }
}

/// Whether the value of an option is the next word.
fn has_value_apart(option: &Arg) -> bool {
    option.get_action().takes_values() && !option.is_require_equals_set()
}

fn takes_many(argument: &Arg) -> bool {
    let count = argument.get_num_args();
    count.is_some_and(|it| it.max_values() > 1)
        || matches!(argument.get_action(), clap::ArgAction::Append)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_a_word_follows_from_the_words_before_it() {
        let command = arguments::full_command();
        let table = [
            ("", None),
            ("status", Some(Kind::Machine)),
            ("status web", None),
            ("stop", Some(Kind::Machine)),
            ("stop --timeout 5 -x web", Some(Kind::Machine)),
            ("stop --timeout", None),
            ("stop --timeout=5", Some(Kind::Machine)),
            ("stop --powerdown", Some(Kind::Machine)),
            ("exec", Some(Kind::Machine)),
            ("exec web --", None),
            ("exec web -- cat", None),
            ("qom get", Some(Kind::Machine)),
            ("qom get web", None),
            ("agent", Some(Kind::Machine)),
            ("agent web ping", None),
            ("copy", Some(Kind::Place)),
            ("copy file", Some(Kind::Place)),
            ("copy file web:x", None),
            ("screenshot web", None),
            ("clone", Some(Kind::Template)),
            ("clone --exec", None),
            ("template remove one", Some(Kind::Template)),
            ("template make", None),
            ("run", Some(Kind::Target)),
            ("run -d --memory 1G", Some(Kind::Target)),
            ("run --", None),
            ("nonesuch", None),
        ];
        for (line, expected) in table {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(kind(&command, &words), expected, "{line}");
        }
    }
}
