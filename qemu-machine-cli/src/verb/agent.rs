//! `agent`: the guest agent of a QEMU that runs.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use qemu_machine::Wait;
use qemu_machine::qmp::agent::{
    AgentInfo, Exec, GuestAgent, GuestFsfreezeFreeze, GuestFsfreezeStatus, GuestFsfreezeThaw,
    GuestFstrim, ShutdownMode,
};
use qemu_machine::qmp::connect::ServerAddress;
use serde::Serialize;

use super::qmp::{Server, failed};
use crate::address::Service;
use crate::attention::Attention;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{guest_command, output};

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
  qemu-machine agent ga.sock write /etc/motd hello.txt
  qemu-machine agent ga.sock fsfreeze freeze";

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
    /// Freezes the guest's file systems for a backup, thaws or trims them
    Fsfreeze {
        /// Status prints thawed or frozen
        #[arg(value_enum)]
        task: Fsfreeze,
    },
    /// Makes the guest shut itself down
    Shutdown {
        /// How
        #[arg(long, value_enum, default_value = "powerdown")]
        mode: Mode,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Fsfreeze {
    Status,
    Freeze,
    Thaw,
    Trim,
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
                let opened = agent.open_file(path).timeout(None).wait();
                let mut file = opened.map_err(failed)?;
                while let Some(piece) = file.read().timeout(None).wait().map_err(failed)? {
                    output::write(&piece)?;
                }
            }
            Task::Write { path, from } => {
                write(&agent, path, from.as_deref())?;
            }
            Task::Fsfreeze { task } => fsfreeze(&agent, task, server.timeout)?,
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

fn exec(
    agent: &GuestAgent,
    has_input: bool,
    environment: &[(String, String)],
    words: &[String],
) -> Result<Outcome, Failure> {
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| Failure::usage("a program is needed"))?;
    let input = if has_input {
        guest_command::standard_input()?
    } else {
        Vec::new()
    };
    let exec = || {
        let exec = agent.exec(program).args(arguments).input(input.clone());
        let with = |exec: Exec, (name, value): &(String, String)| exec.env(name, value);
        environment.iter().fold(exec, with)
    };
    let attention = Attention::of_verb()?;
    let ended = guest_command::by_agent(exec, &attention, || None)?;
    Ok(ended.outcome())
}

/// Writes a file of the guest, from a file of ours or standard input.
fn write(agent: &GuestAgent, path: String, from: Option<&Path>) -> Result<(), Failure> {
    let ours = from.unwrap_or(Path::new("standard input"));
    let mut source: Box<dyn Read> = match from {
        Some(path) => {
            Box::new(File::open(path).map_err(|error| Failure::file("read", path, &error))?)
        }
        None => Box::new(io::stdin().lock()),
    };
    let created = agent.create_file(path).timeout(None).wait();
    let mut file = created.map_err(failed)?;
    loop {
        let mut piece = Vec::new();
        let read = source.by_ref().take(PIECE_BYTES).read_to_end(&mut piece);
        read.map_err(|error| Failure::file("read", ours, &error))?;
        if piece.is_empty() {
            break;
        }
        file.write(piece).timeout(None).wait().map_err(failed)?;
    }
    file.close().timeout(None).wait().map_err(failed)
}

/// Freezes the guest's file systems, and more.
fn fsfreeze(agent: &GuestAgent, task: Fsfreeze, time: Duration) -> Result<(), Failure> {
    match task {
        Fsfreeze::Status => {
            let state = agent.execute(GuestFsfreezeStatus).timeout(time).wait();
            output::line(state.map_err(failed)?)
        }
        Fsfreeze::Freeze => {
            let count = agent.execute(GuestFsfreezeFreeze).timeout(time).wait();
            output::line(format_args!("{} frozen", count.map_err(failed)?))
        }
        Fsfreeze::Thaw => {
            let count = agent.execute(GuestFsfreezeThaw).timeout(time).wait();
            output::line(format_args!("{} thawed", count.map_err(failed)?))
        }
        Fsfreeze::Trim => {
            let trimmed = agent.execute(GuestFstrim).timeout(None).wait();
            let mut has_failed = false;
            for system in trimmed.map_err(failed)? {
                let result = match (&system.error, system.trimmed_bytes) {
                    (Some(error), _) => {
                        has_failed = true;
                        format!("failed: {error}")
                    }
                    (None, Some(bytes)) => format!("{bytes} bytes trimmed"),
                    (None, None) => "trimmed".to_owned(),
                };
                output::line(format_args!("{} {result}", system.path))?;
            }
            if has_failed {
                return Err(Failure::failed("not every file system was trimmed"));
            }
            Ok(())
        }
    }
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

/// How much is written at a time.
const PIECE_BYTES: u64 = 1 << 20;
