//! `qmp`: one command to the monitor of a QEMU that runs.

mod arguments;

use std::fmt;
use std::time::Duration;

use clap::Args;
use qemu_machine::Wait;
use qemu_machine::qmp::Client;
use qemu_machine::qmp::connect::ServerAddress;
use serde::Serialize;
use serde_json::Value;

use crate::address::{Address, Service};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{duration, output};

/// Executes a QMP command, and prints what it returns.
///
/// Arguments are KEY=VALUE, where a value is JSON if it can be read so, and text
/// otherwise. A key with dots is a member of an object: a.b=1 is {"a":{"b":1}}.
/// Or the arguments are one JSON object.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Qmp {
    #[command(flatten)]
    server: Server,

    /// The command, or a whole message: {"execute": …}
    command: String,

    /// Its arguments: KEY=VALUE, or a JSON object
    arguments: Vec<String>,

    /// Executes a line of the human monitor instead
    #[arg(short = 'H', long)]
    human: bool,

    /// Prints the result as JSON in one line
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine qmp /run/vm/qmp.sock query-status
  qemu-machine qmp localhost:4444 device_add driver=virtio-rng-pci id=rng0
  qemu-machine qmp qmp.sock blockdev-add driver=qcow2 node-name=d file.driver=file file.filename=d.qcow2
  qemu-machine qmp qmp.sock -H info registers";

/// The server to connect to.
#[derive(Debug, Args)]
pub(super) struct Server {
    /// A machine's name, the server's unix socket, or HOST:PORT
    address: Address,

    /// How long the connecting, and then each answer, may take
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "30s")]
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
        connected.map_err(failed)
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
        if self.human {
            return self.run_human();
        }
        let (command, arguments) =
            arguments::read(&self.command, &self.arguments).map_err(Failure::usage)?;
        let monitor = self.server.connect()?;
        let execute = monitor.execute_json(&command, arguments);
        let returned = execute.timeout(self.server.timeout).wait();
        let returned = returned.map_err(failed)?;
        output::print(&Returned(returned), self.json)?;
        Ok(Outcome::Succeeded)
    }

    fn run_human(&self) -> Result<Outcome, Failure> {
        let words = std::iter::once(&self.command).chain(&self.arguments);
        let line: Vec<&str> = words.map(String::as_str).collect();
        let monitor = self.server.connect()?;
        let human = monitor.human(&line.join(" ")).fail_on_error();
        let printed = human.timeout(self.server.timeout).wait();
        let printed = printed.map_err(failed)?;
        if self.json {
            output::print(&Returned(printed.into()), true)?;
        } else {
            output::write(printed.as_bytes())?;
        }
        Ok(Outcome::Succeeded)
    }
}
