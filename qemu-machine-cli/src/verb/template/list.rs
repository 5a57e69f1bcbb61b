//! `template list` and `template show`.

use clap::Args;
use qemu_machine::template::TemplateFacts;

use super::{DescribedTemplate, StoreOption};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;
use crate::verb::ps::table;
use crate::verb::run::locate;

/// Lists the templates, the one used last first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine template list --json | jq -r .key")]
pub(super) struct List {
    #[command(flatten)]
    store: StoreOption,

    /// Prints only the keys
    #[arg(short, long)]
    quiet: bool,

    /// Prints each template as JSON, in a line
    #[arg(long)]
    json: bool,
}

/// Prints what a template is: its QEMU, machine, disks, age and use.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  qemu-machine template show web")]
pub(super) struct Show {
    /// A template's name or key, or a directory (with a slash in it)
    #[arg(value_name = "TEMPLATE")]
    template: String,

    #[command(flatten)]
    store: StoreOption,

    /// Prints it as JSON
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self) -> Result<Outcome, Failure> {
        let templates = self
            .store
            .open_existing()?
            .list()
            .map_err(Failure::failed)?;
        if self.quiet {
            for template in &templates {
                output::line(&template.key)?;
            }
            return Ok(Outcome::Succeeded);
        }
        let described = templates.iter().map(DescribedTemplate::stored);
        if self.json {
            for template in described {
                output::line(output::json(&template))?;
            }
        } else {
            let head = HEAD.map(str::to_owned);
            let rows = described.map(|it| it.row());
            output::write(table(std::iter::once(head).chain(rows)).as_bytes())?;
        }
        Ok(Outcome::Succeeded)
    }
}

impl Show {
    pub(super) fn run(self) -> Result<Outcome, Failure> {
        let path = locate(&self.template, &self.store)?;
        let facts = TemplateFacts::read(&path);
        let described = if self.template.contains('/') {
            DescribedTemplate::at(&path, facts.map_err(Failure::failed)?)
        } else {
            let store = self.store.open_existing()?;
            let stored = store.find(&self.template).map_err(Failure::failed)?;
            DescribedTemplate::stored(&stored)
        };
        output::print(&described, self.json)?;
        Ok(Outcome::Succeeded)
    }
}

const HEAD: [&str; 8] = [
    "NAME", "KEY", "STATE", "SIZE", "MEMORY", "AGE", "USED", "QEMU",
];
