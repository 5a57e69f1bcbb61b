//! `console`: a console of a machine that runs, for a person or a pipe.

use std::convert::Infallible;
use std::io::{self, IsTerminal};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use qemu_machine::Console;
use qemu_machine::console::{ConnectConsole, InteractEnd};
use qemu_machine::error::{ErrorKind, InteractError, InteractFailure};
use qemu_machine::registry::{ConsoleEntry, PublishedMachine};

use super::published::find;
use super::qmp::failed as not_done;
use super::way::wait;
use crate::attention::{Attention, Call};
use crate::duration;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Hands a console of a machine to the terminal.
///
/// First comes what the console has printed before. Ctrl-] leaves it, and the machine lives on. Several people can have the same
/// console.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct AttachConsole {
    /// The machine's name
    name: String,

    /// The console with this name, instead of the first
    #[arg(long, value_name = "NAME")]
    console: Option<String>,

    /// Only shows it. Ctrl-C leaves it
    #[arg(short, long)]
    read_only: bool,

    /// How long the owner of the machine may take to answer
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "30s")]
    timeout: Duration,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine console web
  qemu-machine console web --read-only | tee console.log";

impl AttachConsole {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let machine = find(&self.name)?;
        let attention = Attention::of_verb()?;
        let console = connect(&machine, self.console.as_deref(), self.timeout, &attention)?;
        if self.read_only {
            return watch(&console, &attention);
        }
        attach(&console, &attention, "Ctrl-] leaves the console")
    }
}

/// Which console of a machine: the value of an option that may have none.
#[derive(Debug, Clone)]
pub(super) enum Which {
    First,
    Named(String),
}

impl FromStr for Which {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "" => Self::First,
            name => Self::Named(name.to_owned()),
        })
    }
}

impl Which {
    /// Its name; the first one has none.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::First => None,
            Self::Named(name) => Some(name),
        }
    }
}

/// Hands the console to the terminal. If the input ends, what the console says
/// is still shown.
pub(super) fn attach(
    console: &Console,
    attention: &Attention,
    hint: &str,
) -> Result<Outcome, Failure> {
    output::check()?;
    let mut session = console.interact();
    if io::stdout().is_terminal() {
        session = session.hint(hint);
    }
    match attention.wait(session) {
        Ok(Ok(InteractEnd::InputEnded)) => watch(console, attention),
        Ok(Ok(_)) => Ok(Outcome::Succeeded),
        Ok(Err(error)) => Err(failed(&error)),
        Err(call) => interrupted(call),
    }
}

/// Shows the console until it ends.
pub(super) fn watch(console: &Console, attention: &Attention) -> Result<Outcome, Failure> {
    output::check()?;
    let pipe = io::pipe();
    let (silent, _kept) = pipe.map_err(|error| {
        let message = format!("cannot make a pipe: {error}");
        Failure::new(Outcome::Broken, message)
    })?;
    match attention.wait(console.interact().input(silent).escape(None)) {
        Ok(Ok(_)) => Ok(Outcome::Succeeded),
        Ok(Err(error)) => Err(failed(&error)),
        Err(call) => interrupted(call),
    }
}

/// What ends a wait that nothing has to be done about.
pub(super) fn interrupted(call: Call) -> Result<Outcome, Failure> {
    match call {
        Call::Signal(number) => Ok(Outcome::Signal(number)),
        Call::Output(io::ErrorKind::BrokenPipe, _) => Ok(Outcome::OUTPUT_CLOSED),
        Call::Output(_, text) => Err(Failure::new(Outcome::Broken, text)),
        // Only a mount calls so.
        Call::Unmounted => Ok(Outcome::Succeeded),
    }
}

fn failed(error: &InteractError) -> Failure {
    match &*error.failure {
        InteractFailure::Terminal { cause, .. } if cause.kind() == io::ErrorKind::BrokenPipe => {
            Failure {
                outcome: Outcome::OUTPUT_CLOSED,
                message: None,
            }
        }
        _ => Failure::new(Outcome::of(error.kind()), error),
    }
}

/// What the machine says about its console of this name, or its first one.
pub(super) fn entry<'a>(
    machine: &'a PublishedMachine,
    name: Option<&str>,
) -> Result<&'a ConsoleEntry, Failure> {
    let consoles = &machine.entry().consoles;
    let found = consoles.iter().find(|it| it.name.as_deref() == name);
    found.ok_or_else(|| {
        let names = consoles.iter().filter_map(|it| it.name.as_deref());
        let names: Vec<_> = names.collect();
        let others = match &names[..] {
            [] if consoles.is_empty() => "it has none".to_owned(),
            [] => "it has only the first, without a name".to_owned(),
            names => format!("it has: {}", names.join(", ")),
        };
        let (machine, console) = (machine.name(), described(name));
        Failure::failed(format!("machine '{machine}' has no {console}; {others}"))
    })
}

fn described(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("console '{name}'"),
        None => "first console".to_owned(),
    }
}

/// Connects to the console of this name, or to the first one.
pub(super) fn connect(
    machine: &PublishedMachine,
    name: Option<&str>,
    limit: Duration,
    attention: &Attention,
) -> Result<Console, Failure> {
    entry(machine, name)?;
    // A console can be silent. So the owner is asked whether it serves.
    match wait(attention, machine.status().timeout(limit))? {
        Err(error) if error.kind() == ErrorKind::Timeout => return Err(not_done(error)),
        _ => {}
    }
    let connect = connecting(machine, name).timeout(limit);
    wait(attention, connect)?.map_err(not_done)
}

/// The operation that connects to it.
pub(super) fn connecting(machine: &PublishedMachine, name: Option<&str>) -> ConnectConsole {
    match name {
        Some(name) => machine.console_named(name),
        None => machine.console(),
    }
}
