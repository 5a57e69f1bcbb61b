//! `template remove` and `template prune`.

use std::fmt;

use clap::Args;
use qemu_machine::error::TemplateError;
use qemu_machine::template::StoredTemplate;
use serde::Serialize;

use super::StoreOption;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Removes templates, and prints their keys.
///
/// A template that a clone or a maker uses stays, with status 1.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine template remove web")]
pub(super) struct Remove {
    /// The templates' names or keys
    #[arg(value_name = "TEMPLATE", required_unless_present = "all")]
    templates: Vec<String>,

    /// All of the store
    #[arg(long, conflicts_with = "templates")]
    all: bool,

    #[command(flatten)]
    store: StoreOption,

    /// Prints each key as JSON, in a line
    #[arg(long)]
    json: bool,
}

/// Removes templates that were not used for the longest time, and what killed
/// makers left.
///
/// Those in use stay. If a template cannot be removed, the status is 1.
#[derive(Debug, Args)]
#[command(after_help = PRUNE_EXAMPLES)]
pub(super) struct Prune {
    /// The disk space that the others may take: 500M, 2G
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "8G")]
    size: u64,

    /// Removes all that are not in use
    #[arg(long, conflicts_with = "size")]
    all: bool,

    #[command(flatten)]
    store: StoreOption,

    /// Prints each key as JSON, in a line
    #[arg(long)]
    json: bool,
}

const PRUNE_EXAMPLES: &str = "\
Examples:
  qemu-machine template prune --size 2G
  qemu-machine template prune --all";

/// A template that was removed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct Removed {
    key: String,
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)
    }
}

impl Remove {
    pub(super) fn run(self) -> Result<Outcome, Failure> {
        let store = self.store.open_existing()?;
        let mut outcome = Outcome::Succeeded;
        let mut failed = |message: &dyn fmt::Display| {
            output::error(message);
            outcome = Outcome::Failed;
        };
        let found: Vec<(String, StoredTemplate)> = if self.all {
            let all = store.list().map_err(Failure::failed)?.into_iter();
            all.map(|it| (it.key.clone(), it)).collect()
        } else {
            let found = self.templates.iter().filter_map(|name| {
                let found = store.find(name).map_err(|error| failed(&error)).ok()?;
                Some((name.clone(), found))
            });
            found.collect()
        };
        for (name, template) in found {
            let key = template.key;
            match store.remove(&key) {
                Ok(true) => output::print(&Removed { key }, self.json)?,
                Ok(false) => failed(&format_args!(
                    "template '{name}' is in use; stop its clones, or wait for its maker"
                )),
                Err(error) => failed(&error),
            }
        }
        Ok(outcome)
    }
}

impl Prune {
    pub(super) fn run(self) -> Result<Outcome, Failure> {
        let store = self.store.open_existing()?;
        let limit = if self.all { 0 } else { self.size };
        let (removed, failures) = match store.prune(limit) {
            Ok(removed) => (removed, Vec::new()),
            Err(TemplateError::NotPruned { removed, failures }) => (removed, failures),
            Err(error) => return Err(Failure::failed(error)),
        };
        for key in removed {
            output::print(&Removed { key }, self.json)?;
        }
        for failure in &failures {
            output::error(failure);
        }
        Ok(if failures.is_empty() {
            Outcome::Succeeded
        } else {
            Outcome::Failed
        })
    }
}

/// Reads `2G`, `500M`, `64K` or a number of bytes.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size such as 500M or 2G");
    let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
    let unit = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(*unit)?, *shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        let table = [
            ("0", 0),
            ("64K", 65_536),
            ("500M", 524_288_000),
            ("2G", 1 << 31),
        ];
        for (text, bytes) in table {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "-1", "1.5G", "2g", "99999999999T"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
