//! Starting a program in the guest, and running one to its end.

use qemu_qmp_engine::{operation, timeout_option};

use serde_core::de::{Deserialize, Deserializer, Error as _};
use serde_json::{Value, json};

use super::base64::encode;
use super::call::{Operation, Running};
use super::process::{GuestProcess, Said, end_of};
use super::{AgentError, GuestAgent};

/// Runs a program in the guest to its end; made by [`GuestAgent::exec`].
///
/// The agent does not tell when a program ends, so it is asked: at once, and
/// then again and again after as long as the program has run by then, but
/// at least every half second. So a short program is not waited for long, and
/// a long one costs the guest little.
///
/// # Errors
/// [`AgentError`], whose [`failure`](AgentError::failure) says which:
/// [`AgentFailure::Refused`](super::AgentFailure::Refused) where the program is
/// not found, [`AgentFailure::StillRuns`](super::AgentFailure::StillRuns) where
/// it did not end in time. A program that ends with another code than 0 is no
/// error.
///
/// # Cancel safety
/// If the future is dropped after the program was started, the program runs on,
/// and its output is lost. [`spawn`](Self::spawn) gives a handle that keeps it.
#[must_use = "nothing is run until awaited or waited for"]
pub struct Exec {
    operation: Operation,
    program: String,
    arguments: Vec<String>,
    environment: Vec<String>,
    input: Vec<u8>,
    captures: bool,
}

/// Starts a program in the guest; made by [`Exec::spawn`].
///
/// # Errors
/// [`AgentError`], whose [`failure`](AgentError::failure) says which:
/// [`AgentFailure::Refused`](super::AgentFailure::Refused) where the program is
/// not found.
///
/// # Cancel safety
/// If the future is dropped after the command was sent, the program may run all
/// the same, and nobody has its handle.
#[must_use = "nothing is started until awaited or waited for"]
pub struct Spawn {
    operation: Operation,
    exec: Exec,
}

/// How a program in the guest ended, and what it printed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecOutput {
    /// The code it exited with; `None` if it did not exit by itself.
    pub code: Option<i64>,
    /// The signal that ended it, or on Windows the exception; `None` if none
    /// did.
    pub signal: Option<i64>,
    /// What it printed, up to 16 MiB; nothing where that was
    /// [not captured](Exec::capture_output).
    pub stdout: Vec<u8>,
    /// What it printed to its standard error, up to 16 MiB; nothing where that
    /// was not captured.
    pub stderr: Vec<u8>,
    /// Whether it printed more than that.
    pub stdout_truncated: bool,
    /// Whether it printed more than that to its standard error.
    pub stderr_truncated: bool,
}

impl ExecOutput {
    /// Whether the program exited with code 0.
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

timeout_option!(Exec, operation.timeout);
timeout_option!(Spawn, operation.timeout);

impl Exec {
    pub(super) fn new(agent: GuestAgent, program: String) -> Self {
        Self {
            operation: Operation::new(agent),
            program,
            arguments: Vec::new(),
            environment: Vec::new(),
            input: Vec::new(),
            captures: true,
        }
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A variable of the program's environment. With one or more of them it has
    /// no others; with none it has the agent's.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.push(format!("{key}={value}"));
        self
    }

    /// What the program reads from its standard input, instead of nothing.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Whether the agent keeps what the program prints (`capture-output`), as
    /// it does by default. Otherwise the guest discards it: for what prints
    /// much, and for a daemon, which leaves a process behind that has the
    /// output open. While somebody has it open, the agent takes a program whose
    /// output it keeps for one that runs.
    pub fn capture_output(mut self, captures: bool) -> Self {
        self.captures = captures;
        self
    }

    /// Starts the program and does not wait for its end: the result is a handle
    /// that asks for its state, or waits for its end.
    ///
    /// # Examples
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use qemu_qmp::Wait;
    /// # use qemu_qmp::agent::{AgentError, GuestAgent};
    ///
    /// # fn run(agent: &GuestAgent) -> Result<(), AgentError> {
    /// let load = agent.exec("stress").arg("--cpu=1").capture_output(false).spawn().wait()?;
    /// assert!(load.status().wait()?.is_none(), "it has ended");
    /// let end = load.wait_for_exit().timeout(Duration::from_secs(600)).wait()?;
    /// assert!(end.success());
    /// # Ok(())
    /// # }
    /// ```
    pub fn spawn(self) -> Spawn {
        Spawn {
            operation: self.operation.clone(),
            exec: self,
        }
    }

    /// Starts the program; gives its process id in the guest.
    async fn start(self, running: &Running<'_>) -> Result<i64, AgentError> {
        let mut command = json!({"path": self.program, "capture-output": self.captures});
        if !self.arguments.is_empty() {
            command["arg"] = self.arguments.into();
        }
        if !self.environment.is_empty() {
            command["env"] = self.environment.into();
        }
        if !self.input.is_empty() {
            command["input-data"] = encode(&self.input).into();
        }
        let Pid(pid) = running.call("guest-exec", command).await?;
        Ok(pid)
    }
}

operation!(Exec => Result<ExecOutput, AgentError>);

impl Exec {
    async fn run(self) -> Result<ExecOutput, AgentError> {
        let operation = self.operation.clone();
        let running = operation.begin();
        let pid = self.start(&running).await?;
        end_of(&running, pid, &Said::default()).await
    }
}

operation!(Spawn => Result<GuestProcess, AgentError>);

impl Spawn {
    async fn run(self) -> Result<GuestProcess, AgentError> {
        let Self { operation, exec } = self;
        let pid = exec.start(&operation.begin()).await?;
        Ok(GuestProcess::new(operation.agent(), pid))
    }
}

/// The answer to `guest-exec`.
struct Pid(i64);

impl<'de> Deserialize<'de> for Pid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reply = Value::deserialize(deserializer)?;
        let pid = reply["pid"].as_i64();
        pid.map(Self).ok_or_else(|| D::Error::custom("no `pid`"))
    }
}
