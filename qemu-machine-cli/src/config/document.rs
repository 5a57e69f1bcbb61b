//! The file as it is meant: the defaults and the targets, all checked. Pure.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::Fault;
use super::keys::{ARGUMENTS, Keys, STEPS};
use super::near::suggestion;
use super::setting::Setting;

/// A configuration.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) defaults: Section,
    pub(super) targets: BTreeMap<String, Target>,
}

/// A named machine.
#[derive(Debug, Default)]
pub(super) struct Target {
    /// What it is, for people.
    pub(super) description: Option<String>,
    /// The target that has what this one does not say, and where it is named.
    pub(super) extends: Option<(String, Range<usize>)>,
    pub(super) settings: Section,
}

/// What a table says, by its keys.
pub(super) type Section = BTreeMap<String, Setting>;

impl Document {
    /// Reads a text. Of several faults, the first is returned.
    pub(super) fn read(text: &str, directory: &Path, keys: &Keys) -> Result<Self, Fault> {
        let table = DeTable::parse(text).map_err(|error| {
            let message = error.message().to_owned();
            Fault::at(error.span().unwrap_or_default(), message)
        })?;
        let mut reader = Reader {
            keys,
            directory,
            faults: Vec::new(),
        };
        let document = reader.document(table.get_ref());
        let mut faults = reader.faults;
        faults.extend(super::merge::circles(&document));
        match faults.into_iter().min_by_key(Fault::begin) {
            Some(fault) => Err(fault),
            None => Ok(document),
        }
    }

    /// The names of the targets.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.targets.keys().map(String::as_str)
    }
}

struct Reader<'a> {
    keys: &'a Keys,
    directory: &'a Path,
    faults: Vec<Fault>,
}

type Key<'a> = Spanned<toml::de::DeString<'a>>;
type Value<'a> = Spanned<DeValue<'a>>;

impl Reader<'_> {
    fn document(&mut self, table: &DeTable<'_>) -> Document {
        let mut document = Document::default();
        for (key, value) in table {
            match &**key.get_ref() {
                "defaults" => document.defaults = self.target(key, value, true).settings,
                "target" => {
                    let named = "targets such as [target.smoke]";
                    for (name, target) in self.table(key, value, named).into_iter().flatten() {
                        let read = self.target(name, target, false);
                        document.targets.insert(name.get_ref().to_string(), read);
                    }
                }
                name => {
                    let near = suggestion(name, ["defaults", "target"]);
                    self.fail(key.span(), format!("there is no table '{name}'{near}"));
                }
            }
        }
        document
    }

    fn table<'t, 'v>(
        &mut self,
        key: &Key<'_>,
        value: &'t Value<'v>,
        expected: &str,
    ) -> Option<&'t DeTable<'v>> {
        let found = value.get_ref();
        if found.as_table().is_none() {
            let (name, found) = (key.get_ref(), found.type_str());
            let message = format!("'{name}' expects {expected}, found {found}");
            self.fail(value.span(), message);
        }
        found.as_table()
    }

    fn target(&mut self, name: &Key<'_>, value: &Value<'_>, is_defaults: bool) -> Target {
        let mut target = Target::default();
        let table = self.table(name, value, "a table of options");
        for (key, value) in table.into_iter().flatten() {
            match &**key.get_ref() {
                "extends" if !is_defaults => {
                    let name = self.text(key, value);
                    target.extends = name.map(|it| (it, value.span()));
                }
                "description" if !is_defaults => target.description = self.text(key, value),
                _ => self.setting(&mut target.settings, key, value),
            }
        }
        target
    }

    fn text(&mut self, key: &Key<'_>, value: &Value<'_>) -> Option<String> {
        let found = value.get_ref();
        if found.as_str().is_none() {
            let (name, found) = (key.get_ref(), found.type_str());
            self.fail(
                value.span(),
                format!("'{name}' expects text, found {found}"),
            );
        }
        found.as_str().map(str::to_owned)
    }

    fn setting(&mut self, section: &mut Section, key: &Key<'_>, value: &Value<'_>) {
        let name = &**key.get_ref();
        let span = key.span();
        let read = if name == STEPS {
            Setting::read_steps(self.keys, span, value, self.directory)
        } else if name == ARGUMENTS {
            Setting::read_arguments(span, value)
        } else if let Some(key) = self.keys.options.get(name) {
            Setting::read(key, span, value, self.directory)
        } else {
            Err(self.unknown(name, span))
        };
        match read {
            Ok(setting) => {
                section.insert(name.to_owned(), setting);
            }
            Err(fault) => self.faults.push(fault),
        }
    }

    fn unknown(&self, name: &str, span: Range<usize>) -> Fault {
        if self.keys.steps.contains_key(name) {
            let message = format!("'{name}' is a step: steps = [{{ {name} = … }}]");
            return Fault::at(span, message);
        }
        let of_targets = ["extends", "description"];
        if of_targets.contains(&name) {
            return Fault::at(span, format!("'{name}' is for targets, not for [defaults]"));
        }
        let own = ["extends", "description", STEPS, ARGUMENTS];
        let names = self.keys.options.keys().map(String::as_str).chain(own);
        let near = suggestion(name, names);
        Fault::at(span, format!("there is no key '{name}'{near}"))
    }

    fn fail(&mut self, span: Range<usize>, message: String) {
        self.faults.push(Fault::at(span, message));
    }
}
