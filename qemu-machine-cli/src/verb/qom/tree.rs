//! `qom tree`: an object and all objects below it.

use std::fmt::Write as _;

use clap::Args;
use qemu_machine::Wait;
use qemu_machine::qmp::qom::{Object, ObjectProperty, PropertyKind};
use serde_json::{Value, json};

use super::list::target;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;
use crate::verb::qmp::{Server, failed};

/// Prints an object and all objects below it, with their types
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Tree {
    #[command(flatten)]
    server: Server,

    /// The first object
    #[arg(default_value = "/")]
    path: String,

    /// How many levels below it
    #[arg(long, value_name = "NUMBER")]
    depth: Option<usize>,

    /// Prints the properties too, with their values
    #[arg(long)]
    values: bool,

    /// Prints each object as JSON, one in a line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
A property whose value QEMU refuses is shown with the error.

Examples:
  qemu-machine qom tree qmp.sock
  qemu-machine qom tree qmp.sock / --depth 2 --values
  qemu-machine qom tree qmp.sock --json | jq -r .type | sort | uniq -c";

impl Tree {
    pub(super) fn run(self) -> Result<Outcome, Failure> {
        let monitor = self.server.connect()?;
        let walk = monitor.walk_qom(self.path).values(self.values);
        let walk = walk.depth(self.depth.unwrap_or(usize::MAX));
        let objects = walk.timeout(self.server.timeout).wait().map_err(failed)?;
        let shown: String = if self.json {
            objects.iter().map(line_of_json).collect()
        } else {
            objects.iter().map(branch).collect()
        };
        output::write(shown.as_bytes())?;
        Ok(Outcome::Succeeded)
    }
}

fn line_of_json(object: &Object) -> String {
    let property = |it: &ObjectProperty| {
        let mut property = json!({"name": it.property.name, "type": it.property.type_name});
        match &it.value {
            Some(Ok(value)) => property["value"] = value.clone(),
            Some(Err(refusal)) => property["error"] = refusal.desc.clone().into(),
            None => {}
        }
        property
    };
    let properties: Vec<Value> = object.properties.iter().map(property).collect();
    let mut line = json!({
        "path": object.path,
        "type": object.type_name,
        "properties": properties,
    });
    if let Some(refusal) = &object.refusal {
        line["error"] = refusal.desc.clone().into();
    }
    format!("{line}\n")
}

/// The object, and under it the values that were read.
fn branch(object: &Object) -> String {
    let indent = "  ".repeat(object.depth);
    let name = match object.path.rsplit_once('/') {
        Some((_, name)) if object.depth > 0 => format!("{name}/"),
        _ => object.path.clone(),
    };
    let type_name = object.type_name.as_deref().unwrap_or("type unknown");
    let mut shown = format!("{indent}{name} ({type_name})\n");
    if let Some(refusal) = &object.refusal {
        let _ = writeln!(shown, "{indent}  error: {}", refusal.desc);
    }
    for it in &object.properties {
        let name = &it.property.name;
        let value = match (&it.value, target(it)) {
            (_, Some(target)) => format!("{name} -> {target}"),
            (Some(Ok(_)), _) if matches!(it.property.kind(), PropertyKind::Link(_)) => {
                format!("{name} -> nothing")
            }
            (Some(Ok(value)), _) => format!("{name} = {value}"),
            (Some(Err(refusal)), _) => format!("{name}: error: {}", refusal.desc),
            (None, _) => continue,
        };
        let _ = writeln!(shown, "{indent}  {value}");
    }
    shown
}
