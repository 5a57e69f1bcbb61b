//! One key and its value: from TOML to words of the command line.

use std::ffi::OsString;
use std::ops::Range;
use std::path::Path;

use clap::Command;
use clap::error::Error;
use toml::Spanned;
use toml::de::{DeArray, DeInteger, DeValue};

use super::fault::Fault;
use super::keys::{Key, Keys, Kind, PathKind};
use super::near::suggestion;

/// What a key of a table says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// Where the key is.
    pub(super) span: Range<usize>,
    /// The words that say the same; none for a flag that is false.
    pub(super) words: Vec<Word>,
}

/// A word of the command line, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: OsString,
    pub(super) span: Range<usize>,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl Setting {
    /// Reads the value of an option. Paths are relative to `directory`.
    pub(super) fn read(
        key: &Key,
        span: Range<usize>,
        value: &Value<'_>,
        directory: &Path,
    ) -> Result<Self, Fault> {
        let words = match (key.kind, value.get_ref()) {
            (Kind::Flag | Kind::FlagOrText, DeValue::Boolean(false)) => Vec::new(),
            (Kind::Flag | Kind::FlagOrText, DeValue::Boolean(true)) => vec![Word {
                text: format!("--{}", key.name).into(),
                span: value.span(),
            }],
            (Kind::Flag, other) => return Err(unexpected(key, "true or false", other, value)),
            (Kind::List, DeValue::Array(items)) => {
                let words = items.iter().map(|item| word(key, item, directory));
                words.collect::<Result<_, _>>()?
            }
            _ => vec![word(key, value, directory)?],
        };
        Ok(Self { span, words })
    }

    /// Reads the steps: a list of tables with one key each.
    pub(super) fn read_steps(
        keys: &Keys,
        span: Range<usize>,
        value: &Value<'_>,
        directory: &Path,
    ) -> Result<Self, Fault> {
        const FORM: &str = "a list of steps such as { exec = \"uname -r\" }";
        let items = array(value, STEPS_KEY, FORM)?;
        let step = |item: &Value<'_>| {
            let DeValue::Table(table) = item.get_ref() else {
                let found = item.get_ref().type_str();
                return Err(Fault::at(
                    item.span(),
                    format!("expected a step such as {{ exec = \"uname -r\" }}, found {found}"),
                ));
            };
            let mut members = table.iter();
            let (Some((name, value)), None) = (members.next(), members.next()) else {
                return Err(Fault::at(
                    item.span(),
                    "a step has one key: write { expect = … }, { send = … }",
                ));
            };
            let key = keys.steps.get(&**name.get_ref()).ok_or_else(|| {
                let name_text = name.get_ref();
                let names = keys.steps.keys().map(String::as_str);
                let near = suggestion(name_text, names);
                Fault::at(name.span(), format!("there is no step '{name_text}'{near}"))
            })?;
            word(key, value, directory)
        };
        Ok(Self {
            span,
            words: items.iter().map(step).collect::<Result<_, _>>()?,
        })
    }

    /// Reads arguments for QEMU, which are taken as they are.
    pub(super) fn read_arguments(span: Range<usize>, value: &Value<'_>) -> Result<Self, Fault> {
        let items = array(value, super::keys::ARGUMENTS, "a list of QEMU's arguments")?;
        let argument = |item: &Value<'_>| {
            let text = text(item.get_ref()).ok_or_else(|| {
                let found = item.get_ref().type_str();
                Fault::at(item.span(), format!("expected text, found {found}"))
            })?;
            Ok(Word {
                text: text.into(),
                span: item.span(),
            })
        };
        Ok(Self {
            span,
            words: items.iter().map(argument).collect::<Result<_, _>>()?,
        })
    }
}

/// Reads each step as the command line does. That reads passwords, so it is
/// done only for the target that is run.
pub(super) fn check_steps(words: &[Word]) -> Result<(), Fault> {
    for word in words {
        let read = crate::verb::check_steps([&word.text]);
        read.map_err(|error| Fault::at(word.span.clone(), reason(&error)))?;
    }
    Ok(())
}

/// `--KEY=VALUE`, which the option itself has accepted.
fn word(key: &Key, value: &Value<'_>, directory: &Path) -> Result<Word, Fault> {
    let expected = match key.kind {
        Kind::FlagOrText => "true, false or text",
        Kind::List => "text or a list of it",
        Kind::Flag | Kind::Text => "text",
    };
    let given = text(value.get_ref());
    let given = given.ok_or_else(|| unexpected(key, expected, value.get_ref(), value))?;
    let mut text = OsString::from(format!("--{}=", key.name));
    text.push(located(&given, key.path, directory));
    check(key, &text).map_err(|reason| Fault::at(value.span(), reason))?;
    let span = value.span();
    Ok(Word { text, span })
}

/// The value, with its path relative to the working directory.
fn located(given: &str, kind: PathKind, directory: &Path) -> OsString {
    let is_path = match kind {
        PathKind::None => false,
        PathKind::Whole => true,
        PathKind::Program => given.contains('/'),
        PathKind::Disk => !given.contains('=') && !given.contains("://"),
        PathKind::Password => {
            if let Some((user, path)) = given.split_once(":file:") {
                let mut located = OsString::from(format!("{user}:file:"));
                located.push(directory.join(path));
                return located;
            }
            false
        }
    };
    if is_path {
        directory.join(given).into()
    } else {
        given.into()
    }
}

/// Whether the option takes this word; the error says what it expects.
fn check(key: &Key, word: &OsString) -> Result<(), String> {
    let option = Command::new("option").no_binary_name(true);
    let read = option.arg(key.arg.clone()).try_get_matches_from([word]);
    read.map(drop).map_err(|error| {
        let values = key.arg.get_possible_values();
        let values: Vec<&str> = values
            .iter()
            .filter(|it| !it.is_hide_set())
            .map(clap::builder::PossibleValue::get_name)
            .collect();
        let (name, form) = (&key.name, key.arg.get_value_names().unwrap_or_default());
        if values.is_empty() {
            format!("'{name}' expects {}: {}", form.join(" "), reason(&error))
        } else {
            format!("'{name}' expects one of {}", values.join(", "))
        }
    })
}

/// The reason in the option's own error, without what is for the command line
/// alone.
fn reason(error: &Error) -> String {
    use std::error::Error as _;
    if let Some(source) = error.source() {
        return source.to_string();
    }
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

/// Text and numbers as text.
fn text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(decimal(number)),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    }
}

fn decimal(number: &DeInteger<'_>) -> String {
    let digits = number.as_str();
    match i64::from_str_radix(digits, number.radix()) {
        Ok(number) => number.to_string(),
        Err(_) => digits.to_owned(),
    }
}

fn array<'a, 'v>(
    value: &'a Value<'v>,
    key: &str,
    expected: &str,
) -> Result<&'a DeArray<'v>, Fault> {
    let found = value.get_ref();
    found.as_array().ok_or_else(|| {
        let found = found.type_str();
        Fault::at(
            value.span(),
            format!("'{key}' expects {expected}, found {found}"),
        )
    })
}

fn unexpected(key: &Key, expected: &str, found: &DeValue<'_>, value: &Value<'_>) -> Fault {
    let (name, found) = (&key.name, found.type_str());
    Fault::at(
        value.span(),
        format!("'{name}' expects {expected}, found {found}"),
    )
}

const STEPS_KEY: &str = super::keys::STEPS;
