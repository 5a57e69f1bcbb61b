//! The way into a guest that runs: its agent, or a shell on its console.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use clap::Args;
use qemu_machine::qmp::agent::GuestAgent;
use qemu_machine::registry::PublishedMachine;
use qemu_machine::spec::ConsoleConfig;
use qemu_machine::{Console, Shell};

use super::console::{self, Which, interrupted};
use super::qmp::failed;
use super::run::{COMMAND_RING_BYTES, Login};
use crate::attention::Attention;
use crate::blocking::blocking;
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{duration, output};

/// How to reach the guest.
#[derive(Debug, Args)]
pub(super) struct WayOptions {
    /// Only by the guest agent
    #[arg(long, conflicts_with_all = ["console", "login"])]
    agent: bool,

    #[command(flatten)]
    shell: ShellOptions,
}

/// Which shell, and how to get it.
#[derive(Debug, Args)]
pub(super) struct ShellOptions {
    /// Only by a shell, on the first console or this one
    #[arg(long, value_name = "NAME", num_args = 0..=1, require_equals = true,
          default_missing_value = "")]
    console: Option<Which>,

    /// Logs in; with a password: USER:env:NAME, USER:file:PATH
    #[arg(long, value_name = "USER")]
    login: Option<Login>,

    /// How long it may take until the guest answers
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "30s")]
    timeout: Duration,
}

/// The way that was found.
pub(super) enum Way {
    Agent(GuestAgent),
    Shell(Box<LockedShell>),
}

/// A shell on a console that no other `qemu-machine` uses now.
pub(super) struct LockedShell {
    pub(super) shell: Shell,
    /// Locked until it is dropped.
    _lock: File,
}

impl WayOptions {
    /// Finds the way: the agent if it answers, and otherwise the console.
    pub(super) fn find(
        &self,
        machine: &PublishedMachine,
        attention: &Attention,
    ) -> Result<Way, Failure> {
        if self.shell.console.is_none() && self.shell.login.is_none() {
            let has_agent = machine.entry().has_guest_agent;
            if has_agent && let Some(agent) = self.agent(machine, attention)? {
                return Ok(Way::Agent(agent));
            }
            if self.agent {
                let name = machine.name();
                let reason = if has_agent {
                    "has an agent port, but the guest agent does not answer"
                } else {
                    "has no port for a guest agent; run it with --agent"
                };
                return Err(Failure::failed(format!("machine '{name}' {reason}")));
            }
        }
        let shell = self.shell.open(machine, attention)?;
        Ok(Way::Shell(Box::new(shell)))
    }

    /// The agent; `None` if it does not answer.
    fn agent(
        &self,
        machine: &PublishedMachine,
        attention: &Attention,
    ) -> Result<Option<GuestAgent>, Failure> {
        let timeout = self.shell.timeout;
        let agent = wait(attention, machine.guest_agent().timeout(timeout))?;
        let agent = agent.map_err(failed)?;
        // With another way, a shorter time is enough.
        let patience = if self.agent {
            timeout
        } else {
            timeout.min(AGENT_PATIENCE)
        };
        let ready = wait(attention, agent.wait_until_ready().timeout(patience))?;
        Ok(ready.is_ok().then_some(agent))
    }
}

impl ShellOptions {
    /// Opens a shell on the console, and waits before that until no other
    /// `qemu-machine` uses it.
    pub(super) fn open(
        &self,
        machine: &PublishedMachine,
        attention: &Attention,
    ) -> Result<LockedShell, Failure> {
        let name = self.console.as_ref().and_then(Which::name);
        console::entry(machine, name)?;
        let lock = self.lock(machine, name, attention)?;
        let connect = console::connecting(machine, name).config(config());
        let console = wait(attention, connect.timeout(self.timeout))?;
        let console = console.map_err(failed)?;
        let mut open = console.shell().timeout(self.timeout);
        if let Some(login) = &self.login {
            open = open.user(&login.user);
            if let Some(password) = &login.password {
                open = open.password(password);
            }
        }
        let shell = wait(attention, open)?.map_err(failed)?;
        Ok(LockedShell { shell, _lock: lock })
    }

    fn lock(
        &self,
        machine: &PublishedMachine,
        console: Option<&str>,
        attention: &Attention,
    ) -> Result<File, Failure> {
        let file = match console {
            Some(name) => format!("use-console-{name}"),
            None => "use-console".to_owned(),
        };
        let path = machine.folder().join(file);
        let mut options = File::options();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let unlocked = |error| Failure::file("lock", &path, &error);
        let lock = options.open(&path).map_err(unlocked)?;
        match lock.try_lock() {
            Ok(()) => return Ok(lock),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => return Err(unlocked(error)),
        }
        output::note("another qemu-machine has the console; waiting for it");
        let locked = attention.wait(blocking(self.timeout, move || lock.lock().map(|()| lock)));
        match locked {
            Ok(Some(locked)) => locked.map_err(unlocked),
            Ok(None) => Err(Failure::new(
                Outcome::TimedOut,
                format!(
                    "another qemu-machine has had the console of machine '{}' for {:?}",
                    machine.name(),
                    self.timeout
                ),
            )),
            Err(call) => Err(ended(interrupted(call))),
        }
    }
}

/// Waits for an operation. A call ends the verb.
pub(super) fn wait<O: IntoFuture>(
    attention: &Attention,
    operation: O,
) -> Result<O::Output, Failure> {
    let waited = attention.wait(operation);
    waited.map_err(|call| ended(interrupted(call)))
}

/// The verb ends with this outcome, and has nothing to say about it.
fn ended(outcome: Result<Outcome, Failure>) -> Failure {
    match outcome {
        Ok(outcome) => Failure {
            outcome,
            message: None,
        },
        Err(failure) => failure,
    }
}

/// The output of a command is in the ring until it is written.
fn config() -> ConsoleConfig {
    Console::serial().ring_bytes(COMMAND_RING_BYTES)
}

/// How long an agent may take to answer if there is another way.
const AGENT_PATIENCE: Duration = Duration::from_secs(3);
