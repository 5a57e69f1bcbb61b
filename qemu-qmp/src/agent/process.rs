//! A program that runs in the guest.
//!
//! The agent forgets a program once it has said how it ended. So that answer is
//! kept for all who ask, and taken in also where the one who asked has gone.
//!
//! Never loses an end that the agent has told, unless the channel is lost with
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
/// Clones are of the same program, and all of them hear of its end. Dropping
/// them changes nothing in the guest: the program runs on, and the agent keeps
/// its output as long as it runs itself. An agent that was started again does
/// not know the program any more, and refuses to tell of it.
#[derive(Debug, Clone)]
pub struct GuestProcess {
    agent: GuestAgent,
    pid: i64,
    said: Said,
}

/// Asks whether a program has ended; made by [`GuestProcess::status`].
///
/// The result is `None` while the program runs.
///
/// # Errors
/// [`AgentError`], whose [`failure`](AgentError::failure) says which.
///
/// # Cancel safety
/// If the future is dropped, nothing is lost: the next one that asks hears of
/// the end too.
#[must_use = "nothing is asked until awaited or waited for"]
pub struct ProcessStatus {
    operation: Operation,
    process: GuestProcess,
}

/// Waits for the end of a program; made by [`GuestProcess::wait_for_exit`].
///
/// # Errors
/// [`AgentError`]; [`AgentFailure::StillRuns`] where the program did not end in
/// time. It runs on then, and may be waited for again.
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
            said: Said::default(),
        }
    }

    /// The program's process id in the guest.
    pub fn pid(&self) -> i64 {
        self.pid
    }

    /// Asks whether the program has ended, and how (`guest-exec-status`).
    pub fn status(&self) -> ProcessStatus {
        ProcessStatus {
            operation: Operation::new(self.agent.clone()),
            process: self.clone(),
        }
    }

    /// Waits until the program has ended. The agent is asked for that at a pace,
    /// as [`Exec`](super::Exec) says.
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
        let GuestProcess { pid, said, .. } = &self.process;
        ask(&self.operation.begin(), *pid, said).await
    }
}

operation!(WaitForProcessExit => Result<ExecOutput, AgentError>);

impl WaitForProcessExit {
    async fn run(self) -> Result<ExecOutput, AgentError> {
        let GuestProcess { pid, said, .. } = &self.process;
        end_of(&self.operation.begin(), *pid, said).await
    }
}

/// What the agent has said last of one program. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Said(Arc<Mutex<Option<Arc<RawValue>>>>);

impl Said {
    /// Keeps what an answer returns, for whoever looks.
    pub(super) fn keep(&self, answer: AgentAnswer) -> AgentAnswer {
        let AgentAnswer::Return(said) = answer else {
            return answer;
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(said.into());
        AgentAnswer::Return(RawValue::NULL.to_owned())
    }

    /// The program's end, if it was told. What is no status is an error.
    fn end(&self) -> Result<Option<ExecOutput>, AgentFailure> {
        // Read unlocked, for it may be long.
        let said = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(said) = said else {
            return Ok(None);
        };
        match serde_json::from_str(said.get()) {
            Ok(Status(end)) => Ok(end),
            Err(cause) => Err(AgentFailure::Shape {
                received: said.as_ref().to_owned(),
                cause,
            }),
        }
    }
}

/// Waits until a program has ended.
pub(super) async fn end_of(
    running: &Running<'_>,
    pid: i64,
    said: &Said,
) -> Result<ExecOutput, AgentError> {
    let mut pace = SHORTEST_PACE;
    loop {
        if let Some(output) = ask(running, pid, said).await? {
            return Ok(output);
        }
        if let Err(limit) = running.pause(pace).await {
            let failure = AgentFailure::StillRuns { limit, pid };
            return Err(running.error("guest-exec", failure));
        }
        pace = LONGEST_PACE.min(2 * pace);
    }
}

/// Asks whether a program has ended.
async fn ask(
    running: &Running<'_>,
    pid: i64,
    said: &Said,
) -> Result<Option<ExecOutput>, AgentError> {
    let told = async {
        if let Ok(end @ Some(_)) = said.end() {
            return Ok(end);
        }
        let arguments = serde_json::value::to_raw_value(&json!({"pid": pid}));
        let request = Request::Status(line(STATUS, arguments)?, said.clone());
        let answer = running.answer(request).await;
        // Somebody else may have been told of the end meanwhile.
        match (said.end(), answer) {
            (Ok(end @ Some(_)), _) => Ok(end),
            (end, Ok(AgentAnswer::Return(_))) => end,
            (_, answer) => typed::<Value>(answer?).map(|_| None),
        }
    };
    told.await.map_err(|it| running.error(STATUS, it))
}

/// The answer to `guest-exec-status`: the program's end, if it has come.
struct Status(Option<ExecOutput>);

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reply = Value::deserialize(deserializer)?;
        let exited = reply["exited"].as_bool();
        if !exited.ok_or_else(|| D::Error::custom("no `wait_for_exit`"))? {
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

const STATUS: &str = "guest-exec-status";

/// After a program has begun it is asked for its end first after this time.
const SHORTEST_PACE: Duration = Duration::from_millis(5);

/// A program that has run for long is asked for its end this often.
const LONGEST_PACE: Duration = Duration::from_millis(500);
