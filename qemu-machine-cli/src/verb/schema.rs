//! `schema`: what a QEMU can do, by its own account.

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use qemu_machine::qmp::command::QuerySchema;
use qemu_machine::qmp::schema::Schema;
use qemu_machine::{Machine, Wait};
use serde_json::{Value, json};

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

    /// Asks a QEMU that runs: its unix socket, or HOST:PORT
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
            list(&schema, self.json)?;
            return Ok(Outcome::Succeeded);
        }
        let mut answers = Vec::new();
        for question in &self.questions {
            let has = schema.has(question).map_err(Failure::usage)?;
            answers.push((question, has));
        }
        if self.json {
            let answers = answers
                .iter()
                .map(|(question, has)| ((*question).clone(), json!(has)));
            output::json(&Value::Object(answers.collect()), true)?;
        } else {
            for (question, has) in &answers {
                let answer = if *has { "yes" } else { "no" };
                output::line(format_args!("{answer} {question}"))?;
            }
        }
        Ok(if answers.iter().all(|(_, has)| *has) {
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

/// Lists all commands and events.
fn list(schema: &Schema, as_json: bool) -> Result<(), Failure> {
    let marks = |deprecated: bool, unstable: bool| match (deprecated, unstable) {
        (true, _) => " (deprecated)",
        (_, true) => " (unstable)",
        _ => "",
    };
    if as_json {
        let commands: Vec<&str> = schema.commands().map(|it| it.name()).collect();
        let events: Vec<&str> = schema.events().map(|it| it.name()).collect();
        return output::json(&json!({"commands": commands, "events": events}), true);
    }
    let mut lines = String::new();
    for command in schema.commands() {
        let features = command.features();
        let mark = marks(features.deprecated(), features.unstable());
        lines.extend(["command ", command.name(), mark, "\n"]);
    }
    for event in schema.events() {
        let features = event.features();
        let mark = marks(features.deprecated(), features.unstable());
        lines.extend(["event ", event.name(), mark, "\n"]);
    }
    output::write(lines.as_bytes())
}
