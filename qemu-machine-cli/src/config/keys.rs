//! The keys that a target may have: the options of `run`, read from its own
//! description.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Arg, ArgAction, Command};

/// The keys of a target, and those of its steps.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) options: BTreeMap<String, Key>,
    pub(super) steps: BTreeMap<String, Key>,
}

/// An option of `run`.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Whether its value is a path, or may be one.
    pub(super) path: PathKind,
    /// The options that cannot stand beside it.
    pub(super) conflicts: Vec<String>,
    /// Without its bonds to other options.
    pub(super) arg: Arg,
}

/// What its value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// True or false.
    Flag,
    /// True or false, or text.
    FlagOrText,
    Text,
    /// Text, or a list of it.
    List,
}

/// What in its value is relative to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathKind {
    None,
    /// All of it.
    Whole,
    /// It is a path if it has a slash; otherwise a name, looked up in PATH.
    Program,
    /// It is a path, unless it has the syntax of QEMU's own options.
    Disk,
    /// What follows `USER:file:`.
    Password,
}

/// Where the steps of a target are.
pub(super) const STEPS: &str = "steps";

/// Where the arguments for QEMU are.
pub(super) const ARGUMENTS: &str = "args";

impl Keys {
    /// Those of the whole command's description.
    pub(super) fn of(command: &Command) -> Self {
        let mut command = command.clone();
        command.build();
        let run = command.find_subcommand("run").expect("the verb is there");
        let mut keys = Self {
            options: BTreeMap::new(),
            steps: BTreeMap::new(),
        };
        for arg in run.get_arguments() {
            let Some(name) = arg.get_long().filter(|it| !NO_KEYS.contains(it)) else {
                continue;
            };
            let key = Key::of(run, arg, name);
            let is_step = crate::verb::is_step(name);
            let keys = if is_step {
                &mut keys.steps
            } else {
                &mut keys.options
            };
            keys.insert(name.to_owned(), key);
        }
        keys
    }

    /// The name that stands for an option: itself, or that of all steps.
    pub(super) fn layer_key<'a>(&self, name: &'a str) -> &'a str {
        if self.steps.contains_key(name) {
            STEPS
        } else {
            name
        }
    }
}

impl Key {
    fn of(run: &Command, arg: &Arg, name: &str) -> Self {
        let conflicts = run.get_arg_conflicts_with(arg);
        let conflicts = conflicts.iter().filter_map(|it| it.get_long());
        let may_be_alone = arg.get_num_args().is_some_and(|it| it.min_values() == 0);
        let kind = match arg.get_action() {
            ArgAction::SetTrue => Kind::Flag,
            ArgAction::Append => Kind::List,
            _ if may_be_alone => Kind::FlagOrText,
            _ => Kind::Text,
        };
        let is_path = arg.get_value_parser().type_id() == TypeId::of::<PathBuf>();
        let path = match name {
            "qemu" => PathKind::Program,
            "drive" => PathKind::Disk,
            "login" => PathKind::Password,
            _ if is_path => PathKind::Whole,
            _ => PathKind::None,
        };
        Self {
            name: name.to_owned(),
            kind,
            path,
            conflicts: conflicts.map(str::to_owned).collect(),
            arg: arg
                .clone()
                .requires(Resettable::Reset)
                .conflicts_with(Resettable::Reset),
        }
    }
}

/// The name of an option, by its identity.
pub(super) fn name_of(id: &str) -> String {
    id.replace('_', "-")
}

/// Options about the file itself, and those that a person alone asks for.
const NO_KEYS: [&str; 7] = [
    "config",
    "dry-run",
    "help",
    "help-all",
    "json",
    "json-schema",
    "list-targets",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_of_run_are_keys_with_their_kinds() {
        let keys = Keys::of(&crate::arguments::command());
        let table = [
            ("memory", Kind::Text, PathKind::None),
            ("kernel", Kind::Text, PathKind::Whole),
            ("drive", Kind::List, PathKind::Disk),
            ("accel", Kind::List, PathKind::None),
            ("stay", Kind::Flag, PathKind::None),
            ("console", Kind::FlagOrText, PathKind::None),
            ("qemu", Kind::Text, PathKind::Program),
        ];
        for (name, kind, path) in table {
            let key = &keys.options[name];
            assert_eq!((key.kind, key.path), (kind, path), "{name}");
        }
        assert!(keys.steps.contains_key("exec") && !keys.options.contains_key("exec"));
        for name in ["config", "help", "help-all", "json-schema"] {
            assert!(!keys.options.contains_key(name), "{name}");
        }
        assert!(
            keys.options["interact"]
                .conflicts
                .contains(&"console".to_owned())
        );
    }
}
