//! `ps`: the machines that run.

use std::time::Duration;

use clap::Args;
use qemu_machine::Wait;
use qemu_machine::registry::{self, PublishedMachine};
use serde::Serialize;

use super::published::{Described, Pools, State, age, at_once, in_short};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// A machine that runs, and whose it is.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Listed {
    #[serde(flatten)]
    machine: Described,
    /// The pool that keeps it ready; null if there is none, or if it was taken.
    pool: Option<String>,
}

/// Lists the machines of this user that run.
///
/// They are the machines that `run` has started, and those that other programs
/// have published with the library.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct List {
    /// Prints only the names
    #[arg(short, long)]
    quiet: bool,

    /// Prints each machine as JSON, in a line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine ps
  qemu-machine ps -q | grep ^test- | xargs -r qemu-machine stop";

impl List {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let machines = registry::list().map_err(Failure::failed)?;
        if self.quiet {
            for machine in &machines {
                output::line(machine.name())?;
            }
            return Ok(Outcome::Succeeded);
        }
        let pools = Pools::ask().map_err(Failure::failed)?;
        let listed = machines.iter().zip(states(&machines));
        let listed = listed.map(|(machine, state)| Listed {
            machine: Described::new(machine.entry(), state),
            pool: pools.that_keeps(machine).map(str::to_owned),
        });
        if self.json {
            for listed in listed {
                output::line(output::json(&listed))?;
            }
        } else {
            let head = ["NAME", "STATE", "POOL", "PID", "AGE", "BINARY"].map(str::to_owned);
            let ages = machines.iter().map(|it| in_short(age(it.entry().since)));
            let rows = listed.zip(ages).map(|(listed, age)| listed.row(age));
            output::write(table(std::iter::once(head).chain(rows)).as_bytes())?;
        }
        Ok(Outcome::Succeeded)
    }
}

impl Listed {
    fn row(self, age: String) -> [String; 6] {
        let Self { machine, pool } = self;
        [
            machine.name,
            machine.state.word().to_owned(),
            pool.unwrap_or_else(|| "-".to_owned()),
            machine.pid.to_string(),
            age,
            machine.binary,
        ]
    }
}

/// The state of each machine. All are asked at once.
fn states(machines: &[PublishedMachine]) -> Vec<State> {
    at_once(machines, |machine| {
        let asked = machine.status().timeout(PATIENCE).wait();
        asked.map_or(State::NoAnswer, |status| State::of(&status.guest))
    })
}

/// Columns as wide as their widest cell, except for the last.
pub(super) fn table<const N: usize>(rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<_> = rows.collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        for (cell, width) in row[..N - 1].iter().zip(widths) {
            text.extend([&*format!("{cell:width$}"), "  "]);
        }
        text.push_str(&row[N - 1]);
        text.push('\n');
    }
    text
}

/// How long an owner may take to say how its machine is.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: [&str; 5]| cells.map(str::to_owned);
        let rows = [
            row(["NAME", "S", "P", "A", "B"]),
            row(["é", "on", "1", "2s", "q"]),
        ];
        let expected = "NAME  S   P  A   B\né     on  1  2s  q\n";
        assert_eq!(table(rows.into_iter()), expected);
    }
}
