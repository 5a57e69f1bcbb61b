//! From layers to the words of one run. Pure.
//!
//! ```text
//! defaults < the base's base < the base < the target < the command line
//! ```
//!
//! A key of a higher layer replaces the same key of the lower ones, and those
//! that it conflicts with. Arguments for QEMU are added up instead.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;

use super::document::{Document, Section};
use super::fault::Fault;
use super::keys::{ARGUMENTS, Keys, STEPS};
use super::near::suggestion;
use super::setting::{Setting, Word};

/// What is left when the layers are one.
#[derive(Debug, Default)]
pub(super) struct Merged {
    settings: BTreeMap<String, (usize, Setting)>,
    arguments: Vec<Word>,
}

impl Merged {
    /// The words before `--`.
    pub(super) fn words(&self) -> impl Iterator<Item = OsString> {
        let words = self.settings.values().flat_map(|(_, it)| &it.words);
        words.map(|word| word.text.clone())
    }

    /// The words after it.
    pub(super) fn arguments(&self) -> impl Iterator<Item = OsString> {
        self.arguments.iter().map(|word| word.text.clone())
    }

    pub(super) fn steps(&self) -> &[Word] {
        self.settings.get(STEPS).map_or(&[], |(_, it)| &it.words)
    }
}

/// The layers of a target, the lowest first.
pub(super) fn layers<'a>(document: &'a Document, name: &str) -> Result<Vec<&'a Section>, Fault> {
    if !document.targets.contains_key(name) {
        let near = suggestion(name, document.names());
        return Err(Fault::somewhere(format!(
            "there is no target '{}'{near}",
            name.escape_debug()
        )));
    }
    let mut layers = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    let mut next = Some(name);
    while let Some(name) = next {
        let Some((name, target)) = document.targets.get_key_value(name) else {
            break;
        };
        seen.push(name);
        layers.push(&target.settings);
        let Some((base, span)) = &target.extends else {
            break;
        };
        if !document.targets.contains_key(base) {
            let others = document.names().filter(|it| it != name);
            let near = suggestion(base, others);
            let message = format!("there is no target '{base}' to extend{near}");
            return Err(Fault::at(span.clone(), message));
        }
        if let Some(begin) = seen.iter().position(|it| it == base) {
            let circle = [&seen[begin..], &[base]].concat().join("' extends '");
            let message = format!("targets extend each other in a circle: '{circle}'");
            return Err(Fault::at(span.clone(), message));
        }
        if seen.len() == MOST_BASES {
            let message = format!("more than {MOST_BASES} targets extend each other in a row");
            return Err(Fault::at(span.clone(), message));
        }
        next = Some(base);
    }
    layers.push(&document.defaults);
    layers.reverse();
    Ok(layers)
}

/// The greatest number of targets that extend each other in a row.
const MOST_BASES: usize = 100;

/// The faults of what targets extend.
pub(super) fn circles(document: &Document) -> impl Iterator<Item = Fault> {
    document
        .names()
        .filter_map(|name| layers(document, name).err())
}

/// Makes one of the layers, for a command line that has these options itself.
pub(super) fn merge(
    layers: &[&Section],
    given: &BTreeSet<String>,
    keys: &Keys,
) -> Result<Merged, Fault> {
    let mut merged = Merged::default();
    for (layer, section) in layers.iter().enumerate() {
        for (name, setting) in *section {
            if name == ARGUMENTS {
                merged.arguments.extend(setting.words.iter().cloned());
                continue;
            }
            if !setting.words.is_empty() {
                let replaced = conflicts(keys, name);
                let is_beside = |other: &&String| {
                    let beside = merged.settings.get(*other);
                    beside.is_some_and(|(its, it)| *its == layer && !it.words.is_empty())
                };
                if let Some(other) = replaced.iter().find(is_beside) {
                    let message = format!("'{name}' and '{other}' exclude each other");
                    return Err(Fault::at(setting.span.clone(), message));
                }
                merged.settings.retain(|other, _| !replaced.contains(other));
            }
            merged
                .settings
                .insert(name.clone(), (layer, setting.clone()));
        }
    }
    for name in given {
        merged.settings.remove(keys.layer_key(name));
        let replaced = conflicts(keys, name);
        merged.settings.retain(|other, _| !replaced.contains(other));
    }
    Ok(merged)
}

fn conflicts(keys: &Keys, name: &str) -> Vec<String> {
    let key = keys.options.get(name).or_else(|| keys.steps.get(name));
    let own = key.map(|key| key.conflicts.clone()).unwrap_or_default();
    // An option may name its conflict alone.
    let names_it = |key: &&super::keys::Key| key.conflicts.iter().any(|it| it == name);
    let others = keys.options.values().filter(names_it);
    own.into_iter()
        .chain(others.map(|key| key.name.clone()))
        .collect()
}
