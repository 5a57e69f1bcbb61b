//! A program that runs in the guest.
//!
//! The agent forgets a program when it has reported the program's exit. So this
//! module keeps that answer for every handle, even if the caller that asked has
//! given up.
//!
//! Never loses an exit that the agent has reported, unless the channel ends with
//! it.

use qemu_qmp_engine::{operation, timeout_option};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_core::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::base64::Bytes;
use super::call::{Operation, Request, Running, line, typed};
use super::{AgentError, AgentFailure, ExecOutput, GuestAgent};
use crate::wire::AgentAnswer;

/// A program that was started in the guest; made by
/// [`Exec::spawn`](super::Exec::spawn).
///
/// A clone is a handle to the same program; each can wait for its exit. Dropping
/// the handles changes nothing in the guest: the program continues, and the agent
/// keeps its output until the agent ends. An agent that restarted does not know
/// the program, and refuses to report it.
#[derive(Debug, Clone)]
pub struct GuestProcess {
    agent: GuestAgent,
    pid: i64,
    last: LastStatus,
}

/// Asks whether a program has exited; made by [`GuestProcess::status`].
///
/// The result is `None` while the program runs.
///
/// # Errors
/// [`AgentError`]; its [`failure`](AgentError::failure) is the reason.
///
/// # Cancel safety
/// If the future is dropped, nothing is lost: the next call also gets the exit.
#[must_use = "nothing is asked until awaited or waited for"]
pub struct ProcessStatus {
    operation: Operation,
    process: GuestProcess,
}

/// Waits for the exit of a program; made by [`GuestProcess::wait_for_exit`].
///
/// # Errors
/// [`AgentError`], with [`AgentFailure::StillRunning`] if the program did not exit
/// in time. It continues, and the caller may wait again.
///
/// # Cancel safety
/// As for [`ProcessStatus`].
#[must_use = "nothing is waited for until awaited or waited for"]
pub struct WaitForProcessExit {
    operation: Operation,
    process: GuestProcess,
}

timeout_option!(ProcessStatus, operation.timeout);
timeout_option!(WaitForProcessExit, operation.timeout);

impl GuestProcess {
    pub(super) fn new(agent: GuestAgent, pid: i64) -> Self {
        Self {
            agent,
            pid,
            last: LastStatus::default(),
        }
    }

    /// What a question about it needs.
    pub(super) fn parts(&self) -> (i64, &LastStatus) {
        (self.pid, &self.last)
    }

    /// The program's process id in the guest.
    pub fn pid(&self) -> i64 {
        self.pid
    }

    /// Asks whether the program has exited, and how (`guest-exec-status`).
    pub fn status(&self) -> ProcessStatus {
        ProcessStatus {
            operation: Operation::new(self.agent.clone()),
            process: self.clone(),
        }
    }

    /// Waits until the program has exited. It asks the agent repeatedly, with the
    /// pauses that [`Exec`](super::Exec) documents.
    pub fn wait_for_exit(&self) -> WaitForProcessExit {
        WaitForProcessExit {
            operation: Operation::new(self.agent.clone()),
            process: self.clone(),
        }
    }
}

operation!(ProcessStatus => Result<Option<ExecOutput>, AgentError>);

impl ProcessStatus {
    async fn run(self) -> Result<Option<ExecOutput>, AgentError> {
        let GuestProcess { pid, last, .. } = &self.process;
        ask(&self.operation.begin(), *pid, last).await
    }
}

operation!(WaitForProcessExit => Result<ExecOutput, AgentError>);

impl WaitForProcessExit {
    async fn run(self) -> Result<ExecOutput, AgentError> {
        let GuestProcess { pid, last, .. } = &self.process;
        wait_for_exit(&self.operation.begin(), *pid, last).await
    }
}

/// The agent's last report of one program. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct LastStatus(Arc<Mutex<Option<Arc<RawValue>>>>);

impl LastStatus {
    /// Keeps the value that an answer returns.
    pub(super) fn keep(&self, answer: AgentAnswer) -> AgentAnswer {
        let AgentAnswer::Return(last) = answer else {
            return answer;
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(last.into());
        AgentAnswer::Return(RawValue::NULL.to_owned())
    }

    /// The program's exit, if it was reported. A value that is not a status is an
    /// error.
    fn end(&self) -> Result<Option<ExecOutput>, AgentFailure> {
        // Parsed without the lock, because it may be long.
        let last = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(last) = last else {
            return Ok(None);
        };
        match serde_json::from_str(last.get()) {
            Ok(Status(end)) => Ok(end),
            Err(cause) => Err(AgentFailure::Shape {
                received: last.as_ref().to_owned(),
                cause: Arc::new(cause),
            }),
        }
    }
}

/// Waits until a program has exited.
pub(super) async fn wait_for_exit(
    running: &Running<'_>,
    pid: i64,
    last: &LastStatus,
) -> Result<ExecOutput, AgentError> {
    let mut pace = SHORTEST_PACE;
    loop {
        match ask(running, pid, last).await {
            Ok(Some(output)) => return Ok(output),
            Ok(None) => {}
            Err(error) => return Err(or_still_running(running, pid, error)),
        }
        if running.pause(pace).await.is_err() {
            return Err(still_running(running, pid, None));
        }
        pace = LONGEST_PACE.min(longer(pace));
    }
}

/// The error of a wait whose deadline passed before the program's exit was
/// reported.
pub(super) fn still_running(
    running: &Running<'_>,
    pid: i64,
    unanswered_for: Option<Duration>,
) -> AgentError {
    let failure = AgentFailure::StillRunning {
        limit: running.limit(),
        pid,
        unanswered_for,
    };
    running.error(EXEC, failure)
}

/// The error of a wait in which a question about the program failed. The deadline
/// may pass between a question and its answer: it is the program's all the same.
pub(super) fn or_still_running(running: &Running<'_>, pid: i64, error: AgentError) -> AgentError {
    if error.failure.is_unanswered() {
        still_running(running, pid, running.asked_for())
    } else {
        error
    }
}

/// Asks whether a program has exited.
pub(super) async fn ask(
    running: &Running<'_>,
    pid: i64,
    last: &LastStatus,
) -> Result<Option<ExecOutput>, AgentError> {
    let asked = async {
        if let Ok(end @ Some(_)) = last.end() {
            return Ok(end);
        }
        let arguments = serde_json::value::to_raw_value(&json!({"pid": pid}));
        let request = Request::Status(line(STATUS, arguments)?, last.clone());
        let answer = running.answer(request).await;
        // Another caller may have received the exit first.
        match (last.end(), answer) {
            (Ok(end @ Some(_)), _) => Ok(end),
            (end, Ok(AgentAnswer::Return(_))) => end,
            (_, answer) => typed::<Value>(answer?).map(|_| None),
        }
    };
    asked.await.map_err(|it| running.error(STATUS, it))
}

/// The answer to `guest-exec-status`: the program's exit, if it has exited.
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

/// The command that starts a program.
pub(super) const EXEC: &str = "guest-exec";

/// The command that asks for a program's state.
const STATUS: &str = "guest-exec-status";

/// The pause after this one. The pauses grow with the time that has passed, so a
/// result is late by a tenth of what it took, at most.
pub(super) fn longer(pace: Duration) -> Duration {
    pace * 11 / 10
}

/// The first pause before the agent is asked again.
pub(super) const SHORTEST_PACE: Duration = Duration::from_millis(5);

/// The longest pause before the agent is asked again.
const LONGEST_PACE: Duration = Duration::from_millis(500);
