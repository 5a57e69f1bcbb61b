//! Starts a program in the guest, or runs one to its end.

use qemu_qmp_engine::{operation, timeout_option};

use serde_core::de::{Deserialize, Deserializer, Error as _};
use serde_json::{Value, json};

use super::base64::encode;
use super::call::{Operation, Running};
use super::process::{EXEC, GuestProcess, LastStatus, wait_for_exit};
use super::{AgentError, GuestAgent};

/// Runs a program in the guest to its end; made by [`GuestAgent::exec`].
///
/// The agent does not report when a program exits, so this asks the agent: at once,
/// and then after pauses. They grow by a tenth from 5 ms to half a second.
/// So a short program is not delayed, and a long one costs the guest little.
///
/// # Errors
/// [`AgentError`], with
/// [`AgentFailure::Refused`](super::AgentFailure::Refused) if the program was not
/// found, and [`AgentFailure::StillRunning`](super::AgentFailure::StillRunning)
/// if it did not exit in time. An exit code other than 0 is not an error.
///
/// # Cancel safety
/// If the future is dropped after the program was started, the program continues,
/// and its output is lost. Use [`spawn`](Self::spawn) to keep a handle.
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
/// [`AgentError`], with
/// [`AgentFailure::Refused`](super::AgentFailure::Refused) if the program was not
/// found.
///
/// # Cancel safety
/// If the future is dropped after the command was sent, the program may still run,
/// without a handle.
#[must_use = "nothing is started until awaited or waited for"]
pub struct Spawn {
    operation: Operation,
    exec: Exec,
}

/// How a program in the guest exited, and its output.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecOutput {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i64>,
    /// The signal that ended it, or the exception on Windows; `None` if it
    /// exited.
    pub signal: Option<i64>,
    /// Its standard output, up to 16 MiB. Empty if it was
    /// [not captured](Exec::capture_output).
    pub stdout: Vec<u8>,
    /// Its standard error, up to 16 MiB. Empty if it was not captured.
    pub stderr: Vec<u8>,
    /// Whether its standard output was longer.
    pub stdout_truncated: bool,
    /// Whether its standard error was longer.
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

    /// Adds an argument.
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets a variable of the program's environment. The program then has only
    /// the variables set here. Without any, it has the agent's environment.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.environment.push(format!("{key}={value}"));
        self
    }

    /// Sets the program's standard input. It is empty by default.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Whether the agent keeps the program's output (`capture-output`). It does
    /// by default; otherwise the guest discards the output.
    ///
    /// Turn it off for a program with much output, and for a daemon. While a
    /// process has the captured output open, the agent reports the program as
    /// running.
    pub fn capture_output(mut self, captures: bool) -> Self {
        self.captures = captures;
        self
    }

    /// Starts the program without waiting for its exit. The result is a handle
    /// that asks for its state, or waits for its exit.
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
    /// assert!(load.status().wait()?.is_none(), "it has exited");
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

    pub(super) fn operation(&self) -> &Operation {
        &self.operation
    }

    pub(super) fn input_len(&self) -> usize {
        self.input.len()
    }

    /// Its input, which it has no more.
    pub(super) fn take_input(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// Runs another program instead, with this one and its arguments as its last
    /// arguments.
    pub(super) fn behind(mut self, words: &[&str]) -> Self {
        let own = std::mem::take(&mut self.arguments);
        let (program, arguments) = words.split_first().expect("a program");
        let inner = std::mem::replace(&mut self.program, (*program).to_owned());
        self.arguments = arguments.iter().map(|&it| it.to_owned()).collect();
        self.arguments.push(inner);
        self.arguments.extend(own);
        self
    }

    /// Starts the program. Returns its process id in the guest.
    pub(super) async fn start(self, running: &Running<'_>) -> Result<i64, AgentError> {
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
        let Pid(pid) = running.call(EXEC, command).await?;
        Ok(pid)
    }
}

operation!(Exec => Result<ExecOutput, AgentError>);

impl Exec {
    async fn run(self) -> Result<ExecOutput, AgentError> {
        let operation = self.operation.clone();
        let running = operation.begin();
        let pid = self.start(&running).await?;
        wait_for_exit(&running, pid, &LastStatus::default()).await
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
