//! What a person sees of a long step: a line when it starts, and its time when
//! it ends; on a terminal also a live line in between.

use std::{
    fmt::Display,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    process::{Command, Stdio},
    time::Instant,
};

use crate::{failure::Failure, process};

/// Does one step of the work, with a line before and after.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    tell!("{name} ...");
    let started = Instant::now();
    let outcome = work();
    let end = if outcome.is_ok() { "done" } else { "failed" };
    tell!("{name}: {end} in {:.1} s", started.elapsed().as_secs_f64());
    outcome
}

/// Runs a command that draws its own progress if it finds a terminal.
pub(crate) fn run_live(command: &mut Command) -> Result<(), Failure> {
    if io::stdout().is_terminal() {
        process::run_shown(command)
    } else {
        process::run(command)
    }
}

/// Runs a command that prints a line for each thing it has done, and counts them.
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
