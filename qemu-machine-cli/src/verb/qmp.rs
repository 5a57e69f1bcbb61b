//! `qmp`: commands to the monitor of a QEMU that runs: one, those of a script, or
//! those of a person.

mod complete;
mod help;
pub(super) mod line;
mod live;
mod session;
pub(super) mod shell;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use qemu_machine::Wait;
use qemu_machine::qmp::Client;
use qemu_machine::qmp::connect::ServerAddress;
use serde::Serialize;
use serde_json::Value;

pub(super) use line::Mode;
pub(super) use session::{Form, Session};

use super::published::not_connected;
use crate::address::{Address, Service};
use crate::attention::Attention;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{duration, output};
use line::Action;
use shell::{Ended, Options, Source};

/// Executes QMP commands, and prints what they return.
///
/// Without a command, it is a shell: on a terminal for a person, with completion
/// and history; otherwise for a script, with a command in each line.
///
/// A value is JSON if it can be read so, and text otherwise. A key with dots is a
/// member: a.b=1 is {"a":{"b":1}}. `help` lists the syntax.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Qmp {
    #[command(flatten)]
    server: Server,

    /// The command, a whole message {"execute": …}, or help
    command: Option<String>,

    /// Its arguments: KEY=VALUE, or a JSON object
    arguments: Vec<String>,

    #[command(flatten)]
    lines: Lines,

    #[command(flatten)]
    look: Look,
}

/// Which lines.
#[derive(Debug, Args)]
struct Lines {
    /// Executes lines of the human monitor instead
    #[arg(short = 'H', long)]
    human: bool,

    /// Executes the lines of this file
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    script: Option<PathBuf>,

    /// Goes on with a script after a line that failed
    #[arg(short, long)]
    keep_going: bool,
}

/// How results look.
#[derive(Debug, Args)]
struct Look {
    /// Shows what is sent, and the events of a script, on standard error
    #[arg(short, long)]
    verbose: bool,

    /// Prints results in indented lines, which is not the default of a script
    #[arg(short, long)]
    pretty: bool,

    /// Prints each result as JSON in one line
    #[arg(long, conflicts_with = "pretty")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine qmp qmp.sock
  qemu-machine qmp localhost:4444 device_add driver=virtio-rng-pci id=rng0
  qemu-machine qmp qmp.sock blockdev-add driver=qcow2 node-name=d file.driver=file file.filename=d.qcow2
  qemu-machine qmp qmp.sock 'transaction( blockdev-snapshot-sync device=d snapshot-file=s ; abort )'
  qemu-machine qmp qmp.sock help blockdev-add driver=qcow2
  qemu-machine qmp qmp.sock -H info registers
  echo query-status | qemu-machine qmp qmp.sock";

/// The server to connect to.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// A machine's name, the server's unix socket, or HOST:PORT
    address: Address,

    /// How long the connecting, and then each answer, may take
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "30s",
          global = true)]
    pub(super) timeout: Duration,
}

impl Server {
    pub(super) fn new(address: Address, timeout: Duration) -> Self {
        Self { address, timeout }
    }

    /// The address for the library.
    pub(super) fn address(&self, service: Service) -> Result<ServerAddress, Failure> {
        self.address.resolve(service).map_err(Failure::failed)
    }

    /// Connects to its monitor.
    pub(super) fn connect(&self) -> Result<Client, Failure> {
        let connect = match self.address(Service::Monitor)? {
            ServerAddress::Unix(path) => Client::connect_unix(path),
            ServerAddress::Tcp(address) => Client::connect_tcp(address),
        };
        let connected = connect.already_listening().timeout(self.timeout).wait();
        connected.map_err(|error| match self.address.machine() {
            Some(machine) => not_connected(&machine, self.timeout, error),
            None => failed(error),
        })
    }
}

/// Fails with the library's text.
pub(super) fn failed(error: impl Into<qemu_machine::Error>) -> Failure {
    let error = error.into();
    Failure::new(Outcome::of(error.kind()), error)
}

/// What the command returns: any value, by the schema of QEMU (`qemu-machine
/// schema`). A line of the human monitor returns a string.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Returned(Value);

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl Qmp {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let actions = match &self.command {
            Some(command) => Some(self.actions(command)?),
            None => None,
        };
        let options = self.options();
        let form = Form {
            in_one_line: self.look.json
                || (actions.is_none() && !options.has_editor() && !self.look.pretty),
            verbose: self.look.verbose,
        };
        let mode = if self.lines.human {
            Mode::Human
        } else {
            Mode::Qmp
        };
        let monitor = self.server.connect()?;
        let attention = Attention::of_verb()?;
        let mut session = Session::new(monitor, &attention, mode, form, self.server.timeout);
        let ended = match actions {
            Some(actions) => session.run_all(actions)?,
            None => shell::run(&mut session, &options)?,
        };
        Ok(match ended {
            Ended::Left(outcome) => outcome,
            Ended::Quit(outcome) => {
                if options.has_editor() {
                    output::note("QEMU has ended");
                }
                outcome
            }
            Ended::Lost(cause) => return Err(Failure::failed(cause)),
            Ended::Signal(number) => Outcome::Signal(number),
        })
    }

    /// The commands of the command line.
    fn actions(&self, command: &str) -> Result<Vec<Action>, Failure> {
        if self.lines.human {
            let words = std::iter::once(command).chain(self.arguments.iter().map(String::as_str));
            let line: Vec<&str> = words.collect();
            return Ok(vec![Action::Human(line.join(" "))]);
        }
        line::parse_words(command, &self.arguments).map_err(Failure::usage)
    }

    fn options(&self) -> Options {
        let mut options = Options::at_terminal(&shell::key(&self.server.address.identity()));
        if self.lines.script.is_some() {
            options.source = Source::Script(self.lines.script.clone());
            options.keeps_going = false;
        }
        options.keeps_going |= self.lines.keep_going;
        options.shows_events |= self.look.verbose;
        options
    }
}
