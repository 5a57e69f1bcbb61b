//! Running a program in the guest.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::time::Duration;

use serde_core::de::{Deserialize, Deserializer, Error as _};
use serde_json::{Value, json};

use super::base64::{Bytes, encode};
use super::call::{Operation, Running, deadline_options};
use super::{AgentError, AgentFailure, GuestAgent};

/// Runs a program in the guest to its end; made by [`GuestAgent::exec`].
///
/// The agent does not tell when a program ends, so it is asked: at once, and
/// then again and again after as long as the program has run by then, but
/// at least every half second. So a short program is not waited for long, and
/// a long one costs the guest little.
///
/// # Errors
/// [`AgentError`], whose [`failure`](AgentError::failure) says which:
/// [`AgentFailure::Refused`] where the program is not found,
/// [`AgentFailure::StillRuns`] where it did not end in time. A program that
/// ends with another code than 0 is no error.
///
/// # Cancel safety
/// If the future is dropped after the program was started, the program runs on.
/// The agent keeps its output as long as it runs itself.
#[must_use = "nothing is run until awaited or waited for"]
pub struct Exec {
    operation: Operation,
    program: String,
    arguments: Vec<String>,
    environment: Vec<String>,
    input: Vec<u8>,
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
    /// What it printed, 16 MiB at the most.
    pub stdout: Vec<u8>,
    /// What it printed to its standard error, 16 MiB at the most.
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

deadline_options!(Exec);

impl Exec {
    pub(super) fn new(agent: GuestAgent, program: String) -> Self {
        Self {
            operation: Operation::new(agent),
            program,
            arguments: Vec::new(),
            environment: Vec::new(),
            input: Vec::new(),
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
}

impl IntoFuture for Exec {
    type Output = Result<ExecOutput, AgentError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let running = self.operation.begin();
            let mut command = json!({"path": self.program, "capture-output": true});
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
            end_of(&running, pid).await
        })
    }
}

async fn end_of(running: &Running<'_>, pid: i64) -> Result<ExecOutput, AgentError> {
    let mut pace = SHORTEST_PACE;
    loop {
        let status = running.call("guest-exec-status", json!({"pid": pid}));
        if let Status(Some(output)) = status.await? {
            return Ok(output);
        }
        if let Err(limit) = running.pause(pace).await {
            let failure = AgentFailure::StillRuns { limit, pid };
            return Err(running.error("guest-exec", failure));
        }
        pace = LONGEST_PACE.min(2 * pace);
    }
}

/// After a program has begun it is asked for its end first after this time.
const SHORTEST_PACE: Duration = Duration::from_millis(5);

/// A program that has run for long is asked for its end this often.
const LONGEST_PACE: Duration = Duration::from_millis(500);

/// The answer to `guest-exec`.
struct Pid(i64);

impl<'de> Deserialize<'de> for Pid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reply = Value::deserialize(deserializer)?;
        let pid = reply["pid"].as_i64();
        pid.map(Self).ok_or_else(|| D::Error::custom("no `pid`"))
    }
}

/// The answer to `guest-exec-status`: the program's end, if it has come.
struct Status(Option<ExecOutput>);

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reply = Value::deserialize(deserializer)?;
        let exited = reply["exited"].as_bool();
        if !exited.ok_or_else(|| D::Error::custom("no `exited`"))? {
            return Ok(Self(None));
        }
        let printed = |key: &str| match &reply[key] {
            Value::Null => Ok(Vec::new()),
            text => Bytes::deserialize(text)
                .map(|Bytes(bytes)| bytes)
                .map_err(|error| D::Error::custom(format_args!("`{key}`: {error}"))),
        };
        Ok(Self(Some(ExecOutput {
            code: reply["exitcode"].as_i64(),
            signal: reply["signal"].as_i64(),
            stdout: printed("out-data")?,
            stderr: printed("err-data")?,
            stdout_truncated: reply["out-truncated"].as_bool().unwrap_or(false),
            stderr_truncated: reply["err-truncated"].as_bool().unwrap_or(false),
        })))
    }
}
