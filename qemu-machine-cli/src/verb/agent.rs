//! `agent`: the guest agent of a QEMU that runs.

use std::fmt;
use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use qemu_machine::Wait;
use qemu_machine::qmp::agent::{AgentInfo, GuestAgent, ShutdownMode};
use qemu_machine::qmp::connect::ServerAddress;
use serde::Serialize;

use super::qmp::{Server, failed};
use crate::address::Service;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Speaks with the agent in a guest, at the socket of its port.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Agent {
    #[command(flatten)]
    server: Server,

    #[command(subcommand)]
    task: Task,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine agent ga.sock ping
  qemu-machine agent ga.sock exec -- sort -n < numbers
  qemu-machine agent ga.sock read /etc/os-release
  qemu-machine agent ga.sock write /etc/motd hello.txt";

/// The task of the agent.
#[derive(Debug, Subcommand)]
enum Task {
    /// Succeeds if the agent answers
    Ping,
    /// Prints the agent's version and its commands
    Info {
        /// Prints them as JSON
        #[arg(long)]
        json: bool,
    },
    /// Runs a program in the guest; its output and status become ours
    Exec {
        /// Gives the program our standard input
        #[arg(short, long)]
        input: bool,
        /// A variable of the program's environment, which has no others then
        #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
        env: Vec<(String, String)>,
        /// The program, and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        program: Vec<String>,
    },
    /// Prints a file of the guest
    Read { path: String },
    /// Writes a file in the guest, from a file here or standard input
    Write { path: String, from: Option<PathBuf> },
    /// Makes the guest shut itself down
    Shutdown {
        /// How
        #[arg(long, value_enum, default_value = "powerdown")]
        mode: Mode,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Powerdown,
    Halt,
    Reboot,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=');
    let (name, value) = split.ok_or_else(|| format!("'{text}' is no NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Agent {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let Self { server, task } = self;
        let agent = connect(&server)?;
        let ready = agent.wait_until_ready().timeout(server.timeout).wait();
        ready.map_err(failed)?;
        match task {
            Task::Ping => {
                let pinged = agent.ping().timeout(server.timeout).wait();
                pinged.map_err(failed)?;
            }
            Task::Info { json } => {
                let info = agent.info().timeout(server.timeout).wait();
                let info = Info::from(info.map_err(failed)?);
                output::print(&info, json)?;
            }
            Task::Exec {
                input,
                env,
                program,
            } => return exec(&agent, input, &env, &program),
            Task::Read { path } => {
                let read = agent.read_file(path).timeout(None).wait();
                output::write(&read.map_err(failed)?)?;
            }
            Task::Write { path, from } => {
                let written = agent.write_file(path, bytes(from)?).timeout(None).wait();
                written.map_err(failed)?;
            }
            Task::Shutdown { mode } => {
                let mode = match mode {
                    Mode::Powerdown => ShutdownMode::Powerdown,
                    Mode::Halt => ShutdownMode::Halt,
                    Mode::Reboot => ShutdownMode::Reboot,
                };
                let begun = agent.shutdown(mode).timeout(server.timeout).wait();
                begun.map_err(failed)?;
            }
        }
        Ok(Outcome::Succeeded)
    }
}

fn connect(server: &Server) -> Result<GuestAgent, Failure> {
    let connect = match server.address(Service::Agent)? {
        ServerAddress::Unix(path) => GuestAgent::connect_unix(path),
        ServerAddress::Tcp(address) => GuestAgent::connect_tcp(address),
    };
    let connected = connect.already_listening().timeout(server.timeout).wait();
    connected.map_err(failed)
}

pub(super) fn exec(
    agent: &GuestAgent,
    has_input: bool,
    environment: &[(String, String)],
    words: &[String],
) -> Result<Outcome, Failure> {
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Failure::usage("a program is needed"))?;
    let mut exec = agent.exec(program).args(arguments);
    for (name, value) in environment {
        exec = exec.env(name, value);
    }
    if has_input {
        exec = exec.input(bytes(None)?);
    }
    let ran = exec.timeout(None).wait().map_err(|error| {
        let failure = failed(error);
        match failure.outcome {
            // Status 1 would look like the program's own.
            Outcome::Failed => Failure {
                outcome: Outcome::Broken,
                ..failure
            },
            _ => failure,
        }
    })?;
    output::write_error(&ran.stderr);
    output::write(&ran.stdout)?;
    if ran.stdout_truncated || ran.stderr_truncated {
        let reason = "the agent keeps 16 MiB of each stream, and the rest is lost";
        return Err(Failure::new(Outcome::Broken, reason));
    }
    Ok(match (ran.code, ran.signal) {
        (Some(code), _) => Outcome::Exit(code),
        (None, signal) => {
            Outcome::Signal(signal.and_then(|it| i32::try_from(it).ok()).unwrap_or(0))
        }
    })
}

/// The content of a file on this host, or of standard input.
fn bytes(from: Option<PathBuf>) -> Result<Vec<u8>, Failure> {
    if let Some(path) = from {
        return std::fs::read(&path).map_err(|error| Failure::file("read", &path, &error));
    }
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().read_to_end(&mut bytes);
    read.map_err(|error| {
        let message = format!("cannot read standard input: {error}");
        Failure::new(Outcome::Broken, message)
    })?;
    Ok(bytes)
}

/// What an agent is, and what it can do (`agent ADDRESS info`).
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Info {
    version: String,
    commands: Vec<AgentCommand>,
}

/// One command of an agent.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AgentCommand {
    name: String,
    /// Whether the agent executes it.
    enabled: bool,
    /// Whether the agent replies if it succeeds.
    replies: bool,
}

impl From<AgentInfo> for Info {
    fn from(info: AgentInfo) -> Self {
        let commands = info.commands.into_iter().map(|it| AgentCommand {
            name: it.name,
            enabled: it.enabled,
            replies: it.replies,
        });
        Self {
            version: info.version,
            commands: commands.collect(),
        }
    }
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "version {}", self.version)?;
        for command in &self.commands {
            let mark = if command.enabled { "" } else { " (disabled)" };
            writeln!(f, "command {}{mark}", command.name)?;
        }
        Ok(())
    }
}
