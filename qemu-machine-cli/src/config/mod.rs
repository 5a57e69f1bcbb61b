//! The configuration `qemu-machine.toml`: named targets for `run`.
//!
//! ```text
//! text -> Document (every key, with its place) -> layers -> merged words
//!          checked against the options of `run`    defaults, bases, target
//! ```
//!
//! A target becomes words of the command line, which are read as if they had
//! been typed. So each option of `run` has its key, by itself.
//! Without a target, `run` never looks for the file: it does the same in every
//! directory.

mod document;
mod fault;
mod file;
mod keys;
mod list;
mod merge;
mod near;
mod setting;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;

use crate::arguments;
use crate::failure::Failure;
use document::Document;
use fault::Fault;
use file::ConfigFile;
use keys::Keys;
pub(crate) use list::Targets;
use merge::Merged;
pub(crate) use near::{nearest, suggestion};

/// The words of `run TARGET` with those of the target in them; `None` if no
/// target is run.
pub(crate) fn expand(
    words: &[OsString],
    matches: &ArgMatches,
) -> Result<Option<Vec<OsString>>, Failure> {
    let Some(("run", run)) = matches.subcommand() else {
        return Ok(None);
    };
    let Some(target) = run.get_one::<String>("target") else {
        return Ok(None);
    };
    let path = run.get_one::<PathBuf>("config");
    let file = match path {
        Some(path) => ConfigFile::read(path)?,
        None => ConfigFile::find()?.ok_or_else(|| nowhere(target))?,
    };
    let keys = Keys::of(&arguments::command());
    let merged = resolve(&file.text, &file.directory, target, &given(run), &keys);
    let merged = merged.map_err(|fault| file.fails(&fault))?;

    // What follows `--` is always last.
    let own = run.get_raw("qemu_arguments").map_or(0, Iterator::count);
    let (before, after) = words.split_at(words.len() - own);
    let mut expanded = before[..2].to_vec();
    expanded.extend(merged.words());
    expanded.extend_from_slice(&before[2..]);
    if own == 0 && expanded.last().is_none_or(|word| word != "--") {
        expanded.push("--".into());
    }
    expanded.extend(merged.arguments());
    expanded.extend_from_slice(after);
    Ok(Some(expanded))
}

/// What a target says, for a command line that has the `given` options itself.
/// Pure, except that passwords are read.
fn resolve(
    text: &str,
    directory: &Path,
    target: &str,
    given: &BTreeSet<String>,
    keys: &Keys,
) -> Result<Merged, Fault> {
    let document = Document::read(text, directory, keys)?;
    let layers = merge::layers(&document, target)?;
    let merged = merge::merge(&layers, given, keys)?;
    setting::check_steps(merged.steps())?;
    Ok(merged)
}

/// The targets of this file, or of the nearest.
pub(crate) fn targets(path: Option<&Path>) -> Result<Targets, Failure> {
    let file = match path {
        Some(path) => ConfigFile::read(path)?,
        None => ConfigFile::find()?.ok_or_else(|| {
            let advice = "--config FILE names it";
            Failure::usage(format!("{}; {advice}", file::not_found()))
        })?,
    };
    let keys = Keys::of(&arguments::command());
    let document = Document::read(&file.text, &file.directory, &keys);
    let document = document.map_err(|fault| file.fails(&fault))?;
    Ok(Targets::of(&file.path, &document))
}

/// The names of the targets of the nearest file; none if it cannot be read.
pub(crate) fn target_names() -> Vec<String> {
    targets(None).map_or_else(|_| Vec::new(), Targets::into_names)
}

/// The options that stand on the command line.
fn given(run: &ArgMatches) -> BTreeSet<String> {
    let ids = run.ids().map(clap::Id::as_str);
    let is_given = |id: &&str| {
        // A group has no source.
        run.try_contains_id(id).is_ok()
            && matches!(run.value_source(id), Some(ValueSource::CommandLine))
    };
    ids.filter(is_given).map(keys::name_of).collect()
}

fn nowhere(target: &str) -> Failure {
    Failure::usage(format!(
        "there is no target '{}': {}; QEMU's own arguments follow --",
        target.escape_debug(),
        file::not_found()
    ))
}
