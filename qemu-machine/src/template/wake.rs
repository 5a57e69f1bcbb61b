//! Makes a clone its own machine, with the guest's help.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use qemu_qmp::agent::{AgentError, GuestAgent};
use qemu_qmp::error::ErrorKind;
use qemu_qmp_engine::{Deadlines, operation, timeout_option};

use super::identity::{Identity, functions, time_script};
use super::reseed;
use crate::Machine;
use crate::Shell;
use crate::console::ShellError;

impl Machine {
    /// Gives the guest of a clone its own identity and the right time. A
    /// Linux guest is expected, in which the agent or the console's shell has
    /// the rights of root.
    ///
    /// The agent does it, if the machine has one. Otherwise the first console's
    /// shell does, which must be at its prompt; for a
    /// [`Shell`] that is open already, run
    /// [`Identity::script`] in it.
    ///
    /// The time is right within half a second, if the guest runs a command in
    /// less. A guest whose `date` takes whole seconds has it a second later.
    ///
    /// The kernel mixes the seed into its random numbers. It uses the seed at
    /// once on x86-64, and where the guest has Perl or Python or a driver of
    /// `vmgenid`; otherwise within a minute. Numbers that programs had before
    /// the freeze stay equal.
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
        let waking = async {
            let mut guest = Guest::open(&machine, timeout).await?;
            let is_prepared = machine.inner.is_prepared.load(Ordering::Relaxed);
            if is_prepared && guest.wake_prepared(&identity).await? {
                return Ok(());
            }
            let machine = guest.run(identity.script_without_time()).await?;
            if machine == reseed::MACHINE {
                guest.run(reseed::script()).await?;
            }
            guest.set_time(String::new()).await
        };
        waking.await.map_err(failed)?;
        Ok(identity)
    }
}

/// What runs scripts in the guest, within the deadline of the whole.
struct Guest {
    way: Way,
    deadlines: Deadlines,
    begun: Instant,
    timeout: Option<Duration>,
}

enum Way {
    Agent(GuestAgent),
    Shell(Box<Shell>),
}

impl Guest {
    async fn open(machine: &Machine, timeout: Option<Duration>) -> Result<Self, WakeFailure> {
        let deadlines = machine.deadlines().clone();
        let begun = deadlines.now();
        let way = if machine.handles.has_agent {
            let agent = machine.guest_agent();
            let ready = agent.wait_until_ready().timeout(timeout).await;
            ready.map_err(WakeFailure::Agent)?;
            Way::Agent(agent.clone())
        } else {
            let shell = machine.console().shell().timeout(timeout).await;
            Way::Shell(Box::new(shell.map_err(WakeFailure::Shell)?))
        };
        Ok(Self {
            way,
            deadlines,
            begun,
            timeout,
        })
    }

    /// Wakes a guest that has the functions for it. Returns `false` if its shell
    /// does not have them: it may be another one by now.
    async fn wake_prepared(&mut self, identity: &Identity) -> Result<bool, WakeFailure> {
        let sent = self.deadlines.now();
        let earlier = match self.run(identity.prepared_line()).await {
            Err(WakeFailure::Refused {
                status: NOT_FOUND, ..
            }) => return Ok(false),
            ran => ran?,
        };
        if self.deadlines.now() - sent >= OLD {
            self.set_time(earlier).await?;
        }
        Ok(true)
    }

    /// Returns what the script printed.
    async fn run(&mut self, script: String) -> Result<String, WakeFailure> {
        let spent = self.deadlines.now() - self.begun;
        let left = self.timeout.map(|it| it.saturating_sub(spent));
        let (status, output) = match &mut self.way {
            Way::Agent(agent) => {
                let exec = agent.exec("/bin/sh").arg("-c").arg(script);
                let output = exec.timeout(left).await.map_err(WakeFailure::Agent)?;
                (output.code.unwrap_or(-1), output.stdout)
            }
            Way::Shell(shell) => {
                let run = shell.run(script).timeout(left).await;
                let output = run.map_err(WakeFailure::Shell)?;
                (output.status.into(), output.output)
            }
        };
        let output = String::from_utf8_lossy(&output).trim().to_owned();
        if status == 0 {
            Ok(output)
        } else {
            Err(WakeFailure::Refused { status, output })
        }
    }

    /// Sets the time. On its way to the guest a time grows old, so a guest that
    /// is slow to take it gets another. `earlier` is what the last one printed.
    async fn set_time(&mut self, mut earlier: String) -> Result<(), WakeFailure> {
        for _ in 0..TIMES {
            earlier.retain(|character| character.is_ascii_digit());
            let sent = self.deadlines.now();
            earlier = self.run(time_script(&earlier)).await?;
            if self.deadlines.now() - sent < OLD {
                break;
            }
        }
        Ok(())
    }
}

/// The status of a shell without such a command.
const NOT_FOUND: i64 = 127;

/// A time of this age is old.
const OLD: Duration = Duration::from_millis(400);

/// A guest that has not taken a time by then is always slow.
const TIMES: usize = 5;

impl Machine {
    /// Prepares the guest for [`wake`](Self::wake), before it is
    /// [frozen](Self::freeze): its clones then wake by one short line. This
    /// defines functions in the shell on the first console, which must be at its
    /// prompt. A machine with an agent needs no preparation.
    ///
    /// A [`TemplateStore`](super::TemplateStore) does this itself, if the set-up
    /// has used that shell.
    pub fn prepare_wake(&self) -> PrepareWake {
        PrepareWake {
            machine: self.clone(),
            timeout: self.deadlines().limit(),
        }
    }
}

/// Prepares a guest for the wake of its clones; made by
/// [`Machine::prepare_wake`].
///
/// # Errors
/// [`WakeError`].
///
/// # Cancel safety
/// If the future is dropped after it was polled, the guest may not be prepared.
/// Clones of it wake as without preparation.
#[derive(Debug)]
#[must_use = "nothing changes until awaited or waited for"]
pub struct PrepareWake {
    machine: Machine,
    timeout: Option<Duration>,
}

timeout_option!(PrepareWake, timeout);

operation!(PrepareWake => Result<(), WakeError>);

impl PrepareWake {
    async fn run(self) -> Result<(), WakeError> {
        let Self { machine, timeout } = self;
        if machine.handles.has_agent {
            return Ok(());
        }
        let preparing = async {
            let mut guest = Guest::open(&machine, timeout).await?;
            guest.run(functions()).await
        };
        preparing.await.map_err(|failure| WakeError {
            machine: machine.name().to_owned(),
            failure: Box::new(failure),
        })?;
        machine.inner.is_prepared.store(true, Ordering::Relaxed);
        Ok(())
    }
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
