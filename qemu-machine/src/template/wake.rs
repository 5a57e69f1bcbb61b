//! Makes a clone its own machine, with the guest's help.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::agent::AgentError;
use qemu_qmp::error::ErrorKind;
use qemu_qmp_engine::{operation, timeout_option};

use super::identity::Identity;
use crate::Machine;
use crate::console::ShellError;

impl Machine {
    /// Gives the guest of a clone its own identity and the right time. A
    /// Linux guest is expected, in which the agent or the console's shell has
    /// the rights of root.
    ///
    /// The agent does it, if the machine has one. Otherwise the first console's
    /// shell does, which must be at its prompt; for a
    /// [`Shell`](crate::Shell) that is open already, run
    /// [`Identity::script`] in it.
    ///
    /// The kernel mixes the seed into its random numbers. It uses the seed at
    /// once if the machine has a `vmgenid` device, or the guest has Perl or
    /// Python; otherwise within a minute. Numbers that programs had before the
    /// freeze stay equal.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::template::{Identity, Template};
    /// use qemu_machine::{Machine, Wait};
    ///
    /// # fn fork(template: &Template) -> Result<Machine, Box<dyn std::error::Error>> {
    /// let clone = template.machine().launch().wait()?;
    /// clone.wake().identity(Identity::random()?.hostname("node-3")).wait()?;
    /// # Ok(clone)
    /// # }
    /// ```
    pub fn wake(&self) -> Wake {
        Wake {
            machine: self.clone(),
            identity: None,
            timeout: self.deadlines().limit(),
        }
    }
}

/// Gives a guest its own identity; made by [`Machine::wake`].
///
/// # Errors
/// [`WakeError`].
///
/// # Cancel safety
/// If the future is dropped after it was polled, the guest may have part of the
/// identity.
#[derive(Debug)]
#[must_use = "nothing changes until awaited or waited for"]
pub struct Wake {
    machine: Machine,
    identity: Option<Identity>,
    timeout: Option<Duration>,
}

impl Wake {
    /// Uses this identity, instead of a random one.
    pub fn identity(mut self, identity: Identity) -> Self {
        self.identity = Some(identity);
        self
    }
}

timeout_option!(Wake, timeout);

operation!(Wake => Result<Identity, WakeError>);

impl Wake {
    async fn run(self) -> Result<Identity, WakeError> {
        let Self {
            machine,
            identity,
            timeout,
        } = self;
        let failed = |failure| WakeError {
            machine: machine.name().to_owned(),
            failure: Box::new(failure),
        };
        let identity = identity.map_or_else(Identity::random, Ok);
        let identity = identity.map_err(|cause| failed(WakeFailure::Random(cause.into())))?;
        let (status, output) = if machine.handles.has_agent {
            by_agent(&machine, &identity, timeout).await
        } else {
            by_shell(&machine, &identity, timeout).await
        }
        .map_err(failed)?;
        if status == 0 {
            return Ok(identity);
        }
        let output = String::from_utf8_lossy(&output).trim().to_owned();
        Err(failed(WakeFailure::Refused { status, output }))
    }
}

async fn by_agent(
    machine: &Machine,
    identity: &Identity,
    timeout: Option<Duration>,
) -> Result<(i64, Vec<u8>), WakeFailure> {
    let agent = machine.guest_agent();
    let ready = agent.wait_until_ready().timeout(timeout).await;
    ready.map_err(WakeFailure::Agent)?;
    let exec = agent.exec("/bin/sh").arg("-c").arg(identity.script());
    let output = exec.timeout(timeout).await.map_err(WakeFailure::Agent)?;
    Ok((output.code.unwrap_or(-1), output.stdout))
}

async fn by_shell(
    machine: &Machine,
    identity: &Identity,
    timeout: Option<Duration>,
) -> Result<(i64, Vec<u8>), WakeFailure> {
    let shell = machine.console().shell().timeout(timeout).await;
    let mut shell = shell.map_err(WakeFailure::Shell)?;
    let run = shell.run(identity.script()).timeout(timeout).await;
    let output = run.map_err(WakeFailure::Shell)?;
    Ok((output.status.into(), output.output))
}

/// A guest did not get its own identity.
#[derive(Clone)]
#[non_exhaustive]
pub struct WakeError {
    /// The machine's name.
    pub machine: String,
    /// The reason.
    pub failure: Box<WakeFailure>,
}

/// Why a guest did not get its own identity.
#[derive(Clone)]
#[non_exhaustive]
pub enum WakeFailure {
    /// This host has no random bytes.
    Random(Arc<io::Error>),
    /// The guest agent failed.
    Agent(AgentError),
    /// The shell on the console failed.
    Shell(ShellError),
    /// The guest could not set some of it.
    Refused {
        /// The status of the script.
        status: i64,
        /// What it could not set.
        output: String,
    },
}

impl fmt::Display for WakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "machine '{}': the guest did not get its own identity: {}",
            self.machine, self.failure
        )
    }
}

impl fmt::Display for WakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random(cause) => write!(f, "cannot read random bytes of the host: {cause}"),
            Self::Agent(cause) => write!(f, "{cause}"),
            Self::Shell(cause) => write!(f, "{cause}"),
            Self::Refused { status, output } => write!(
                f,
                "{output} (status {status}); the shell or agent needs the rights of root"
            ),
        }
    }
}

impl Error for WakeError {}

impl Error for WakeFailure {}

impl WakeError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }

    /// The error of the system behind it, if there is one.
    pub fn io_error(&self) -> Option<&io::Error> {
        match &*self.failure {
            WakeFailure::Random(cause) => Some(cause),
            WakeFailure::Agent(cause) => cause.io_error(),
            WakeFailure::Shell(_) | WakeFailure::Refused { .. } => None,
        }
    }
}

impl WakeFailure {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Random(cause) => ErrorKind::of_io(cause),
            Self::Agent(cause) => cause.kind(),
            Self::Shell(cause) => cause.kind(),
            Self::Refused { .. } => ErrorKind::Refused,
        }
    }
}
