//! The targets of a configuration, listed.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::document::Document;
use crate::output;

/// The targets of a configuration: the output of --list-targets --json.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Targets {
    /// The configuration's path.
    file: String,
    /// In the order of their names.
    targets: Vec<Listed>,
}

/// One target.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Listed {
    name: String,
    /// What the configuration says about it; null if nothing.
    description: Option<String>,
    /// The target that it extends.
    extends: Option<String>,
}

impl Targets {
    pub(super) fn of(path: &Path, document: &Document) -> Self {
        let targets = document.targets.iter().map(|(name, target)| Listed {
            name: name.clone(),
            description: target.description.clone(),
            extends: target.extends.as_ref().map(|(base, _)| base.clone()),
        });
        Self {
            file: path.display().to_string(),
            targets: targets.collect(),
        }
    }
}

impl Targets {
    pub(super) fn into_names(self) -> Vec<String> {
        self.targets.into_iter().map(|it| it.name).collect()
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.targets.iter().map(|it| in_one_line(&it.name));
        let names: Vec<String> = names.collect();
        let widths = names.iter().map(|it| it.chars().count());
        let width = widths.max().unwrap_or_default();
        for (name, target) in names.iter().zip(&self.targets) {
            match &target.description {
                Some(description) => {
                    writeln!(f, "{name:width$}  {}", in_one_line(description.trim()))?;
                }
                None => writeln!(f, "{name}")?,
            }
        }
        Ok(())
    }
}

/// The text without what a terminal would obey, a line's end, too.
fn in_one_line(text: &str) -> String {
    output::printable(text).replace('\n', "\\n")
}
