//! What would be run, for people and for scripts.

use clap::ValueEnum;
use serde::Serialize;

use super::machine::Plan;
use crate::failure::Failure;
use crate::output;

/// How a dry run is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// Each word in a line.
    List,
    /// A line to paste into a shell.
    Shell,
    Json,
}

/// What would be run: the output of --dry-run=json.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct DryRun {
    /// The binary, and its arguments.
    command_line: Vec<String>,
    /// The same, to be pasted into a shell.
    shell_line: String,
}

pub(super) fn print(plan: &Plan, form: Form) -> Result<(), Failure> {
    use std::os::unix::ffi::OsStrExt;

    let dry_run = plan.builder.dry_run();
    let words = dry_run.command_line.words();
    match form {
        Form::List => {
            let lines = words.iter().flat_map(|word| [word.as_bytes(), b"\n"]);
            output::write(&lines.collect::<Vec<_>>().concat())
        }
        Form::Shell => output::line(&dry_run.shell_line),
        Form::Json => {
            let words = words.iter().map(|word| word.to_string_lossy());
            output::line(output::json(&DryRun {
                command_line: words.map(String::from).collect(),
                shell_line: dry_run.shell_line.clone(),
            }))
        }
    }
}
