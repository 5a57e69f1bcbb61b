//! Shows the progress of a long step: a line at its start, and a line with its
//! time at its end. On a terminal there is also a live line between them.

use std::{
    fmt::Display,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{failure::Failure, process};

/// Runs one step, with a line before and after it.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    tell!("{name} ...");
    let started = Instant::now();
    let outcome = work();
    let end = if outcome.is_ok() { "done" } else { "failed" };
    tell!("{name}: {end} in {:.1} s", started.elapsed().as_secs_f64());
    outcome
}

/// Runs a command that draws its own progress on a terminal.
pub(crate) fn run_live(command: &mut Command) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        process::run_shown(command)
    } else {
        process::run(command)
    }
}

/// Runs a command that prints a line for each thing, and shows their number.
pub(crate) fn run_counted(command: &mut Command, things: impl Display) -> Result<(), Failure> {
    if !io::stdout().is_terminal() {
        return process::run(command);
    }
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(process::not_started(command))?;
    if let Some(stdout) = child.stdout.take() {
        for (number, line) in (1..).zip(BufReader::new(stdout).split(b'\n')) {
            line.map_err(Failure::io("read what a command prints"))?;
            let _ = write!(io::stdout(), "\r  {number} {things}");
            let _ = io::stdout().flush();
        }
        tell!("");
    }
    let status = child.wait().map_err(Failure::io("wait for a command"))?;
    process::succeeded(command, status)
}
