//! One command of the agent, with a reply or without.

use std::marker::PhantomData;

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use serde_json::value::RawValue;

use qemu_qmp_engine::{operation, timeout_option};

use super::call::{Operation, Request, line, typed};
use super::{AgentError, AgentFailure, GuestAgent};
use crate::command::Command;
use crate::wire::AgentAnswer;

/// Waits until the agent answers; made by [`GuestAgent::wait_until_ready`].
///
/// # Errors
/// [`AgentError`], with [`AgentFailure::NotReady`] if it did not answer in time.
///
/// # Cancel safety
/// Dropping the future has no effect.
#[must_use = "nothing is waited for until awaited or waited for"]
pub struct WaitUntilReady {
    operation: Operation,
}

/// Executes a typed command; made by [`GuestAgent::execute`].
///
/// # Errors
/// [`AgentError`]; its [`failure`](AgentError::failure) is the reason.
///
/// # Cancel safety
/// If the future is dropped after the command was sent, the agent may still
/// execute it. Its reply is dropped, and reaches no other caller.
#[must_use = "nothing is sent until awaited or waited for"]
pub struct Execute<C> {
    command: NamedCommand,
    returned: PhantomData<fn() -> C>,
}

/// Executes a command by its name; made by [`GuestAgent::execute_json`].
///
/// # Errors
/// [`AgentError`]; its [`failure`](AgentError::failure) is the reason.
///
/// # Cancel safety
/// As for [`Execute`].
#[must_use = "nothing is sent until awaited or waited for"]
pub struct ExecuteJson<T = serde_json::Value> {
    command: NamedCommand,
    returned: PhantomData<fn() -> T>,
}

/// Executes a command that sends no reply when it succeeds; made by
/// [`GuestAgent::execute_without_reply`] and [`GuestAgent::shutdown`].
///
/// It succeeds when the agent has read on without refusing the command. It also
/// succeeds when the agent or the machine ends before that. A guest that the
/// command stops at once reads on only when it runs again: wait for the
/// machine's event instead, such as `SUSPEND`.
///
/// # Errors
/// [`AgentError`]; its [`failure`](AgentError::failure) is the reason.
///
/// # Cancel safety
/// If the future is dropped after the command was sent, the agent may still
/// execute it.
#[must_use = "nothing is sent until awaited or waited for"]
pub struct ExecuteWithoutReply {
    command: NamedCommand,
}

/// One command with its options, for all three operations.
struct NamedCommand {
    operation: Operation,
    name: String,
    arguments: serde_json::Result<Box<RawValue>>,
}

timeout_option!(WaitUntilReady, operation.timeout);
timeout_option!({C} Execute<C>, command.operation.timeout);
timeout_option!({T} ExecuteJson<T>, command.operation.timeout);
timeout_option!(ExecuteWithoutReply, command.operation.timeout);

impl NamedCommand {
    fn new(agent: GuestAgent, name: &str, arguments: impl Serialize) -> Self {
        Self {
            operation: Operation::new(agent),
            name: name.to_owned(),
            arguments: serde_json::value::to_raw_value(&arguments),
        }
    }

    async fn run<T: DeserializeOwned>(self) -> Result<T, AgentError> {
        let running = self.operation.begin();
        running.call_raw(&self.name, self.arguments).await
    }
}

impl WaitUntilReady {
    pub(super) fn new(agent: GuestAgent) -> Self {
        Self {
            operation: Operation::new(agent),
        }
    }
}

impl<C: Command> Execute<C> {
    pub(super) fn new(agent: GuestAgent, command: impl Serialize) -> Self {
        Self {
            command: NamedCommand::new(agent, C::NAME, command),
            returned: PhantomData,
        }
    }
}

impl ExecuteJson {
    pub(super) fn new(agent: GuestAgent, name: &str, arguments: impl Serialize) -> Self {
        Self {
            command: NamedCommand::new(agent, name, arguments),
            returned: PhantomData,
        }
    }
}

impl<T> ExecuteJson<T> {
    /// Returns the value as a type of the caller's instead of a
    /// [`serde_json::Value`]. A `Box<RawValue>` is the value as it was received.
    pub fn returning<U: DeserializeOwned>(self) -> ExecuteJson<U> {
        ExecuteJson {
            command: self.command,
            returned: PhantomData,
        }
    }
}

impl ExecuteWithoutReply {
    pub(super) fn new(agent: GuestAgent, name: &str, arguments: impl Serialize) -> Self {
        Self {
            command: NamedCommand::new(agent, name, arguments),
        }
    }
}

operation!(WaitUntilReady => Result<(), AgentError>);

impl WaitUntilReady {
    async fn run(self) -> Result<(), AgentError> {
        let running = self.operation.begin();
        match running.answer(Request::Sync).await {
            Ok(_) => Ok(()),
            Err(failure) => Err(running.error("guest-sync-delimited", failure)),
        }
    }
}

operation!({C: Command + 'static} Execute<C> => Result<C::Return, AgentError>);

impl<C: Command + 'static> Execute<C> {
    async fn run(self) -> Result<C::Return, AgentError> {
        self.command.run().await
    }
}

operation!({T: DeserializeOwned + 'static} ExecuteJson<T> => Result<T, AgentError>);

impl<T: DeserializeOwned + 'static> ExecuteJson<T> {
    async fn run(self) -> Result<T, AgentError> {
        self.command.run().await
    }
}

operation!(ExecuteWithoutReply => Result<(), AgentError>);

impl ExecuteWithoutReply {
    async fn run(self) -> Result<(), AgentError> {
        let NamedCommand {
            operation,
            name,
            arguments,
        } = self.command;
        let running = operation.begin();
        let outcome = async {
            let line = line(&name, arguments)?;
            match running.answer(Request::Command(line)).await {
                Ok(answer @ AgentAnswer::Error(_)) => typed(answer),
                Ok(_) | Err(AgentFailure::Gone) => Ok(()),
                Err(AgentFailure::Interrupted { cause, was_sent })
                    if was_sent && cause.is_by_server() =>
                {
                    Ok(())
                }
                Err(failure) => Err(failure),
            }
        };
        let outcome: Result<(), AgentFailure> = outcome.await;
        outcome.map_err(|failure| running.error(&name, failure))
    }
}
