//! `schema`: what a QEMU can do, by its own account.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use qemu_machine::qmp::command::QuerySchema;
use qemu_machine::qmp::schema::{Features, Schema};
use qemu_machine::{Machine, Wait};
use serde::{Serialize, Serializer};

use super::qmp::failed;
use super::run::{default_qemu, not_launched};
use crate::address::Address;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{duration, output};

/// Asks a QEMU what it can do.
///
/// A question is a command or an event, and steps from there:
/// blockdev-add/arg-type/driver/^nvme. The status is 0 if the answer to every
/// question is yes, and 1 otherwise. Without questions, all commands and events
/// are listed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AskSchema {
    /// What to ask
    #[arg(value_name = "QUESTION")]
    questions: Vec<String>,

    /// The QEMU to ask, which is started without a machine
    #[arg(long, value_name = "BINARY", conflicts_with = "address")]
    qemu: Option<OsString>,

    /// Asks a QEMU that runs: a machine's name, its unix socket, or HOST:PORT
    #[arg(long)]
    address: Option<Address>,

    /// How long it may take
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "30s")]
    timeout: Duration,

    /// Prints the answers as JSON
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine schema
  qemu-machine schema screendump/arg-type/format/^png && echo 'it writes PNG'
  qemu-machine schema --qemu qemu-system-aarch64 --json blockdev-add query-hotpluggable-cpus";

impl AskSchema {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let schema = self.read()?;
        if self.questions.is_empty() {
            output::print(&Output::list(&schema), self.json)?;
            return Ok(Outcome::Succeeded);
        }
        let mut answers = Vec::new();
        for question in &self.questions {
            let has = schema.has(question).map_err(Failure::usage)?;
            answers.push((question.clone(), has));
        }
        let is_yes = answers.iter().all(|(_, has)| *has);
        output::print(&Output::Answers(answers), self.json)?;
        Ok(if is_yes {
            Outcome::Succeeded
        } else {
            Outcome::Failed
        })
    }

    fn read(&self) -> Result<Arc<Schema>, Failure> {
        if let Some(address) = &self.address {
            let monitor = super::qmp::Server::new(address.clone(), self.timeout).connect()?;
            let asked = monitor.execute(QuerySchema).timeout(self.timeout).wait();
            return asked.map(Arc::new).map_err(failed);
        }
        let binary = self.qemu.clone().unwrap_or_else(|| default_qemu().into());
        let launch = Machine::builder(binary).machine("none").launch();
        let machine = launch.timeout(self.timeout).wait();
        let machine = machine.map_err(|error| not_launched(&error))?;
        let schema = machine.schema().timeout(self.timeout).wait();
        schema.map_err(failed)
    }
}

/// What the verb prints.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub(super) enum Output {
    /// For each question, whether the answer is yes.
    Answers(
        #[serde(serialize_with = "as_map")]
        #[cfg_attr(test, schemars(with = "std::collections::BTreeMap<String, bool>"))]
        Vec<(String, bool)>,
    ),
    /// Without questions: everything that QEMU has.
    List {
        /// The names of the commands.
        commands: Vec<Named>,
        /// The names of the events.
        events: Vec<Named>,
    },
}

/// A command or an event.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(transparent)]
pub(super) struct Named {
    name: String,
    #[serde(skip)]
    mark: &'static str,
}

fn as_map<S: Serializer>(answers: &[(String, bool)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(answers.iter().map(|(question, has)| (question, has)))
}

impl Output {
    fn list(schema: &Schema) -> Self {
        let named = |name: &str, features: Features<'_>| Named {
            name: name.to_owned(),
            mark: match (features.deprecated(), features.unstable()) {
                (true, _) => " (deprecated)",
                (_, true) => " (unstable)",
                _ => "",
            },
        };
        let commands = schema.commands();
        let events = schema.events();
        Self::List {
            commands: commands.map(|it| named(it.name(), it.features())).collect(),
            events: events.map(|it| named(it.name(), it.features())).collect(),
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers(answers) => answers.iter().try_for_each(|(question, has)| {
                writeln!(f, "{} {question}", if *has { "yes" } else { "no" })
            }),
            Self::List { commands, events } => {
                for Named { name, mark } in commands {
                    writeln!(f, "command {name}{mark}")?;
                }
                events
                    .iter()
                    .try_for_each(|Named { name, mark }| writeln!(f, "event {name}{mark}"))
            }
        }
    }
}
