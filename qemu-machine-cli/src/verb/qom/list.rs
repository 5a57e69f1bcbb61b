//! `qom list`: one object's properties and children.

use std::fmt::Write as _;

use clap::Args;
use qemu_machine::Wait;
use qemu_machine::qmp::qom::{Object, ObjectProperty, PropertyKind};
use serde_json::{Value, json};

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;
use crate::verb::qmp::{Server, failed};

/// Prints an object's children, links and other properties, with their types
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct List {
    #[command(flatten)]
    server: Server,

    /// The object
    #[arg(default_value = "/")]
    path: String,

    /// Prints each as JSON, one in a line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
A child has a slash at its end, a link an arrow to its object.

Examples:
  qemu-machine qom list qmp.sock
  qemu-machine qom list qmp.sock /machine/peripheral/disk0";

impl List {
    pub(super) fn run(self) -> Result<Outcome, Failure> {
        let monitor = self.server.connect()?;
        let walk = monitor.walk_qom(self.path).depth(0).links(true);
        let objects = walk.timeout(self.server.timeout).wait().map_err(failed)?;
        let shown = if self.json {
            lines_of_json(&objects[0])
        } else {
            table(&objects[0])
        };
        output::write(shown.as_bytes())?;
        Ok(Outcome::Succeeded)
    }
}

fn lines_of_json(object: &Object) -> String {
    let line = |it: &ObjectProperty| {
        let mut line = json!({"name": it.property.name, "type": it.property.type_name});
        if let Some(target) = target(it) {
            line["target"] = target.into();
        }
        format!("{line}\n")
    };
    object.properties.iter().map(line).collect()
}

/// The names, and the types behind them in a column.
fn table(object: &Object) -> String {
    let name = |it: &ObjectProperty| {
        let name = &it.property.name;
        match (it.property.kind(), target(it)) {
            (PropertyKind::Child(_), _) => format!("{name}/"),
            (_, Some(target)) => format!("{name} -> {target}"),
            _ => name.clone(),
        }
    };
    let names: Vec<String> = object.properties.iter().map(name).collect();
    let lengths = names.iter().map(|name| name.chars().count());
    let width = lengths.filter(|it| *it <= WIDEST).max().unwrap_or(0);
    let mut table = String::new();
    for (name, it) in names.iter().zip(&object.properties) {
        let _ = writeln!(table, "{name:width$}  {}", it.property.type_name);
    }
    table
}

/// A longer name does not move the column of all others.
const WIDEST: usize = 60;

/// Where a link leads. One without an object leads nowhere.
pub(super) fn target(it: &ObjectProperty) -> Option<&str> {
    match (it.property.kind(), &it.value) {
        (PropertyKind::Link(_), Some(Ok(Value::String(target)))) if !target.is_empty() => {
            Some(target)
        }
        _ => None,
    }
}
