//! `qom tree`: an object and all objects below it.

use std::fmt::Write as _;

use clap::Args;
use qemu_machine::Wait;
use qemu_machine::qmp::qom::{Object, ObjectProperty, PropertyKind};
use serde::Serialize;
use serde_json::Value;

use super::Output;
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
    let line = output::json(&Output::Object(Line::from(object)));
    format!("{line}\n")
}

/// An object (`qom tree`).
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[cfg_attr(test, schemars(rename = "Object"))]
pub(in crate::verb) struct Line {
    path: String,
    /// `null` if QEMU does not report it.
    #[serde(rename = "type")]
    type_name: Option<String>,
    /// All of them. Only `--values` reads their values, and never of children.
    properties: Vec<Read>,
    /// Why QEMU did not list the object.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// A property of an object.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Read {
    name: String,
    #[serde(rename = "type")]
    type_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Value>,
    /// Why QEMU did not give the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<&Object> for Line {
    fn from(object: &Object) -> Self {
        Self {
            path: object.path.clone(),
            type_name: object.type_name.clone(),
            properties: object.properties.iter().map(Read::from).collect(),
            error: object.refusal.as_ref().map(|it| it.desc.clone()),
        }
    }
}

impl From<&ObjectProperty> for Read {
    fn from(it: &ObjectProperty) -> Self {
        let (value, error) = match &it.value {
            Some(Ok(value)) => (Some(value.clone()), None),
            Some(Err(refusal)) => (None, Some(refusal.desc.clone())),
            None => (None, None),
        };
        Self {
            name: it.property.name.clone(),
            type_name: it.property.type_name.clone(),
            value,
            error,
        }
    }
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
