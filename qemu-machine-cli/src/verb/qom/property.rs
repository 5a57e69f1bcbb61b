//! `qom get` and `qom set`: one property, as `PATH.PROPERTY` or as two words.

use std::time::Duration;

use clap::Args;
use qemu_machine::Wait;
use qemu_machine::qmp::Client;
use qemu_machine::qmp::qom::{Property, QomGet, QomList, QomSet};

use super::value;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;
use crate::verb::qmp::{Server, failed};

/// Prints the value of a property
#[derive(Debug, Args)]
#[command(after_help = GET_EXAMPLES)]
pub(super) struct Get {
    #[command(flatten)]
    server: Server,

    /// PATH.PROPERTY, or PATH and PROPERTY
    #[arg(value_name = "PATH.PROPERTY", required = true, num_args = 1..=2)]
    property: Vec<String>,

    /// Prints the value as JSON in one line
    #[arg(long)]
    json: bool,
}

const GET_EXAMPLES: &str = "\
Examples:
  qemu-machine qom get qmp.sock /machine.type
  qemu-machine qom get qmp.sock /machine/i440fx/pci.0 hotplugged
  qemu-machine qom get qmp.sock rtc date --json";

/// Sets the value of a property
#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
pub(super) struct Set {
    #[command(flatten)]
    server: Server,

    /// PATH.PROPERTY, or PATH and PROPERTY; and the value
    #[arg(
        value_names = ["PATH.PROPERTY", "VALUE"],
        required = true,
        num_args = 2..=3,
        allow_hyphen_values = true
    )]
    words: Vec<String>,
}

const SET_EXAMPLES: &str = "\
The value is text or JSON, as the property's type needs it: on and true for
bool, 0x10 for numbers, 64M for a size. Many properties can be set only before
their device works, or never.

Examples:
  qemu-machine qom set qmp.sock balloon0.guest-stats-polling-interval 2
  qemu-machine qom set qmp.sock /machine/peripheral/led0 intensity-percent 50";

impl Get {
    pub(super) fn run(self) -> Result<Outcome, Failure> {
        let places = places(&self.property).map_err(Failure::usage)?;
        let monitor = self.server.connect()?;
        let (place, _) = find(&monitor, places, self.server.timeout)?;
        let get = monitor.execute(QomGet::new(place.path, place.property));
        let value = get.timeout(self.server.timeout).wait().map_err(failed)?;
        match value.as_str() {
            Some(text) if !self.json => output::line(text)?,
            _ if self.json => output::line(&value)?,
            _ => output::line(format_args!("{value:#}"))?,
        }
        Ok(Outcome::Succeeded)
    }
}

impl Set {
    pub(super) fn run(mut self) -> Result<Outcome, Failure> {
        let text = self.words.pop().unwrap_or_default();
        let places = places(&self.words).map_err(Failure::usage)?;
        let monitor = self.server.connect()?;
        let (place, property) = find(&monitor, places, self.server.timeout)?;
        let value = value::read(&property.type_name, &text).map_err(|problem| {
            let Place { path, property } = &place;
            Failure::usage(format!("'{property}' of '{path}': {problem}"))
        })?;
        let set = monitor.execute(QomSet::new(place.path, place.property, value));
        set.timeout(self.server.timeout).wait().map_err(failed)?;
        Ok(Outcome::Succeeded)
    }
}

/// An object, and one of its properties.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    path: String,
    property: String,
}

/// What the words may mean, the likeliest first. Names of objects have dots too,
/// as in `pci.0`. Only QEMU knows which dot is the one.
fn places(words: &[String]) -> Result<Vec<Place>, String> {
    let place = |path: &str, property: &str| Place {
        path: path.to_owned(),
        property: property.to_owned(),
    };
    let (text, places) = match words {
        [path, property] => (path, vec![place(path, property)]),
        [text] => {
            let name_begins = text.rfind('/').map_or(0, |slash| slash + 1);
            let dots = text[name_begins..].rmatch_indices('.');
            let dots = dots.map(|(at, _)| name_begins + at);
            let places = dots.map(|dot| place(&text[..dot], &text[dot + 1..]));
            (text, places.collect())
        }
        _ => return Err("PATH.PROPERTY or PATH PROPERTY is needed".to_owned()),
    };
    let is_whole = |place: &Place| !place.path.is_empty() && !place.property.is_empty();
    let places: Vec<Place> = places.into_iter().filter(is_whole).collect();
    if places.is_empty() {
        return Err(format!(
            "'{text}' names no property: PATH.PROPERTY or PATH PROPERTY is needed; \
             'qom list' prints an object's properties"
        ));
    }
    Ok(places)
}

/// The first place that QEMU has.
fn find(
    monitor: &Client,
    places: Vec<Place>,
    timeout: Duration,
) -> Result<(Place, Property), Failure> {
    let mut refused = None;
    let mut missing = None;
    for place in places {
        let list = monitor.execute(QomList::new(&*place.path));
        match list.timeout(timeout).wait() {
            Ok(properties) => {
                let is_it = |it: &&Property| it.name == place.property;
                if let Some(property) = properties.iter().find(is_it) {
                    return Ok((place, property.clone()));
                }
                missing.get_or_insert_with(|| no_property(&place, &properties));
            }
            Err(error) if error.reply().is_none() => return Err(failed(error)),
            Err(error) => {
                refused.get_or_insert(error);
            }
        }
    }
    Err(match (missing, refused) {
        (Some(missing), _) => Failure::failed(missing),
        (None, Some(refused)) => failed(refused),
        (None, None) => Failure::usage("no property is named"),
    })
}

fn no_property(place: &Place, properties: &[Property]) -> String {
    let Place { path, property } = place;
    let names = properties.iter().map(|it| &*it.name);
    let near: Vec<&str> = names.filter(|name| is_near(name, property)).collect();
    let advice = match &near[..] {
        [] => format!("'qom list ADDRESS {path}' prints what it has"),
        near => format!("it has '{}'", near.join("', '")),
    };
    format!("'{path}' has no property '{property}': {advice}")
}

/// Whether one may be a misspelling of the other: a part of it, or different in
/// one place of up to two letters.
fn is_near(name: &str, other: &str) -> bool {
    let (name, other) = (name.to_lowercase(), other.to_lowercase());
    if name.contains(&other) || other.contains(&name) {
        return true;
    }
    let (name, other): (Vec<char>, Vec<char>) = (name.chars().collect(), other.chars().collect());
    let pairs = || name.iter().zip(&other);
    let same = pairs().take_while(|(a, b)| a == b).count();
    let same_end = name.iter().rev().zip(other.iter().rev());
    let same_end = same_end.take_while(|(a, b)| a == b).count();
    let longest = name.len().max(other.len());
    longest > 3 && same + same_end + 2 >= longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_one_word_with_a_dot_or_two_words() {
        type Row = (
            &'static [&'static str],
            &'static [(&'static str, &'static str)],
        );
        let table: [Row; 7] = [
            (&["/machine.type"], &[("/machine", "type")]),
            (&["/machine", "type"], &[("/machine", "type")]),
            (&["disk0.bus"], &[("disk0", "bus")]),
            (&["/.type"], &[("/", "type")]),
            (&["/pci.0/a.b"], &[("/pci.0/a", "b")]),
            (&["/x/pci.0.on"], &[("/x/pci.0", "on"), ("/x/pci", "0.on")]),
            (&["/x/pci.0", "a.b"], &[("/x/pci.0", "a.b")]),
        ];
        for (words, expected) in table {
            let words: Vec<String> = words.iter().copied().map(str::to_owned).collect();
            let places = places(&words).unwrap();
            let places: Vec<_> = places.iter().map(|it| (&*it.path, &*it.property)).collect();
            assert_eq!(places, expected, "{words:?}");
        }
    }

    #[test]
    fn a_word_without_a_property_is_refused() {
        for words in [
            &["/machine"][..],
            &["/pci.0/a"],
            &[".type"],
            &["a."],
            &["", "a"],
            &[],
        ] {
            let words: Vec<String> = words.iter().copied().map(str::to_owned).collect();
            let problem = places(&words).unwrap_err();
            assert!(problem.contains("is needed"), "{words:?}: {problem}");
        }
    }

    #[test]
    fn a_misspelt_property_is_near() {
        for (name, other) in [
            ("type", "tpye"),
            ("hotplugged", "plugged"),
            ("type", "typ"),
            ("realized", "realised"),
        ] {
            assert!(is_near(name, other), "{name} {other}");
        }
        assert!(!is_near("bus", "addr") && !is_near("a", "b"));
    }
}
