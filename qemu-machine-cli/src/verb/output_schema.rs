//! The JSON schemas of the output of verbs: kept in `schemas`, one file a verb,
//! and printed by `VERB --json-schema`.
//!
//! A verb's output is a type. A test derives the schema of that type, and
//! compares it with the kept file. So a change of an output changes its file in
//! the same commit.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

/// Names the type of each verb's output. The files come from a test:
/// `UPDATE=1 cargo test -p qemu-machine-cli output_schema`.
macro_rules! kept {
    ($($verb:literal: $output:ty,)*) => {
        const KEPT: &[Kept] = &[$(Kept {
            verb: $verb,
            text: include_str!(concat!("../../schemas/", $verb, ".json")),
            #[cfg(test)]
            derived: tests::derived::<$output>,
        },)*];
    };
}

kept! {
    "accel": super::accel::Findings,
    "agent": super::agent::Output,
    "clone": super::run::Output,
    "doctor": super::doctor::Findings,
    "events": super::events::Output,
    "freeze": super::template::DescribedTemplate,
    "kill": super::stop::Ended,
    "pool": super::pool::Output,
    "ps": super::ps::Listed,
    "qmp": super::qmp::Returned,
    "qom": super::qom::Output,
    "replay": super::replay::Entry,
    "run": super::run::Output,
    "schema": super::schema::Output,
    "status": super::status::MachineStatus,
    "stop": super::stop::Ended,
    "sweep": super::sweep::Swept,
    "template": super::template::Output,
}

/// A verb that prints JSON, and the schema of that.
struct Kept {
    verb: &'static str,
    text: &'static str,
    #[cfg(test)]
    derived: fn(&str) -> String,
}

/// The schema that these words ask for: `qemu-machine VERB --json-schema`, or
/// the same with words before the option, such as an address and a task. A task
/// has the schema of its verb.
///
/// Read before all other words, because no other argument is needed then.
pub(crate) fn asked(words: &[OsString]) -> Option<&'static str> {
    let [_, verb, between @ .., option] = words else {
        return None;
    };
    let kept = KEPT.iter().find(|kept| verb == kept.verb)?;
    // What follows an option may be its value, or an argument of QEMU's.
    let is_option = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    (option == "--json-schema" && !between.iter().any(is_option)).then_some(kept.text)
}

/// Adds the option to each verb that has a schema, and to its tasks that print
/// JSON.
pub(crate) fn with_option(mut command: Command) -> Command {
    for kept in KEPT {
        command = command.mut_subcommand(kept.verb, |verb| {
            let prints_json = |task: &Command| task.get_arguments().any(|it| it.get_id() == "json");
            with_own_option(verb).mut_subcommands(|task| {
                if prints_json(&task) {
                    with_own_option(task)
                } else {
                    task
                }
            })
        });
    }
    command
}

fn with_own_option(verb: Command) -> Command {
    let verb_has_many = verb.get_arguments().any(Arg::is_hide_short_help_set);
    verb.arg(
        Arg::new("json-schema")
            .long("json-schema")
            .action(ArgAction::SetTrue)
            .exclusive(true)
            .hide_short_help(verb_has_many)
            .help("Prints the schema of the JSON output"),
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use schemars::JsonSchema;
    use schemars::generate::SchemaSettings;

    use super::*;

    /// The schema of a type, as the kept files have it.
    pub(super) fn derived<T: JsonSchema>(verb: &str) -> String {
        let settings = SchemaSettings::draft2020_12().for_serialize();
        let mut schema = settings.into_generator().into_root_schema_for::<T>();
        schema.insert("title".to_owned(), format!("qemu-machine {verb}").into());
        format!("{:#}\n", schema.to_value())
    }

    #[test]
    fn every_kept_schema_is_that_of_the_type() {
        let update = std::env::var_os("UPDATE").is_some();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        for kept in KEPT {
            let derived = (kept.derived)(kept.verb);
            if update {
                std::fs::write(folder.join(kept.verb).with_extension("json"), derived).unwrap();
                continue;
            }
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(
                read(&derived),
                read(kept.text),
                "the output of {} has changed: UPDATE=1 writes its schema",
                kept.verb
            );
        }
    }

    #[test]
    fn a_schema_is_asked_for_without_other_words() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        for with in [
            &["qemu-machine", "events", "--json-schema"][..],
            &["qemu-machine", "qom", "list", "--json-schema"],
            &["qemu-machine", "agent", "web", "info", "--json-schema"],
        ] {
            assert!(asked(&words(with)).is_some(), "{with:?}");
        }
        for other in [
            &["qemu-machine", "man", "--json-schema"][..],
            &["qemu-machine", "events", "--json"],
            &["qemu-machine", "events", "--json-schema", "x"],
            &["qemu-machine", "run", "--", "--json-schema"],
            &["qemu-machine", "run", "--exec", "--json-schema"],
            &["qemu-machine"],
        ] {
            assert!(asked(&words(other)).is_none(), "{other:?}");
        }
    }
}
