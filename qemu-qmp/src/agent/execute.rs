//! One command of the agent, with a reply or without.

use qemu_qmp_engine::{operation, timeout_option};
use std::future::Future;
use std::marker::PhantomData;

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::call::{Operation, Request, line, typed};
use super::{AgentError, AgentFailure, GuestAgent};
use crate::Command;
use crate::wire::AgentAnswer;

/// Waits until the agent answers; made by [`GuestAgent::ready`].
///
/// # Errors
/// [`AgentError`]; [`AgentFailure::NotReady`] where it did not in time.
///
/// # Cancel safety
/// Nothing depends on it.
#[must_use = "nothing is waited for until awaited or waited for"]
pub struct Ready {
    operation: Operation,
}

/// A typed command, not sent yet; made by [`GuestAgent::execute`].
///
/// # Errors
/// [`AgentError`], whose [`failure`](AgentError::failure) says which.
///
/// # Cancel safety
/// If the future is dropped after the command was sent, the command may be
/// executed all the same; its reply is dropped and reaches nobody else.
#[must_use = "nothing is sent until awaited or waited for"]
pub struct Execute<C> {
    operation: Operation,
    arguments: serde_json::Result<Box<RawValue>>,
    command: PhantomData<fn() -> C>,
}

/// A command by its name, not sent yet; made by [`GuestAgent::execute_json`].
///
/// # Errors
/// [`AgentError`], whose [`failure`](AgentError::failure) says which.
///
/// # Cancel safety
/// As for [`Execute`].
#[must_use = "nothing is sent until awaited or waited for"]
pub struct ExecuteJson {
    operation: Operation,
    command: String,
    arguments: serde_json::Result<Box<RawValue>>,
}

/// A command that has no reply where it succeeds, not sent yet; made by
/// [`GuestAgent::tell`] and [`GuestAgent::shutdown`].
///
/// It has succeeded when the agent has read on without refusing it, and also
/// when the agent, or the machine, has ended before that. A guest that the
/// command stops at once reads on only when it runs again: listen for the
/// machine's event instead, such as `SUSPEND`.
///
/// # Errors
/// [`AgentError`], whose [`failure`](AgentError::failure) says which.
///
/// # Cancel safety
/// If the future is dropped after the command was sent, the command may be
/// executed all the same.
#[must_use = "nothing is sent until awaited or waited for"]
pub struct Tell {
    operation: Operation,
    command: String,
    arguments: serde_json::Result<Box<RawValue>>,
}

timeout_option!(Ready, operation.timeout);
timeout_option!({C} Execute<C>, operation.timeout);
timeout_option!(ExecuteJson, operation.timeout);
timeout_option!(Tell, operation.timeout);

impl Ready {
    pub(super) fn new(agent: GuestAgent) -> Self {
        Self {
            operation: Operation::new(agent),
        }
    }
}

impl<C: Command> Execute<C> {
    pub(super) fn new(agent: GuestAgent, command: impl Serialize) -> Self {
        Self {
            operation: Operation::new(agent),
            arguments: serde_json::value::to_raw_value(&command),
            command: PhantomData,
        }
    }
}

impl ExecuteJson {
    pub(super) fn new(agent: GuestAgent, command: &str, arguments: impl Serialize) -> Self {
        Self {
            operation: Operation::new(agent),
            command: command.to_owned(),
            arguments: serde_json::value::to_raw_value(&arguments),
        }
    }

    /// Takes the return value as a type of the caller's instead of a
    /// [`serde_json::Value`]. For what was received as it stands, take a
    /// `Box<RawValue>`.
    pub fn returning<T: DeserializeOwned>(
        self,
    ) -> impl Future<Output = Result<T, AgentError>> + Send {
        execute(self.operation, self.command, self.arguments)
    }
}

impl Tell {
    pub(super) fn new(agent: GuestAgent, command: &str, arguments: impl Serialize) -> Self {
        Self {
            operation: Operation::new(agent),
            command: command.to_owned(),
            arguments: serde_json::value::to_raw_value(&arguments),
        }
    }
}

operation!(Ready => Result<(), AgentError>);

impl Ready {
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
        execute(self.operation, C::NAME.to_owned(), self.arguments).await
    }
}

operation!(ExecuteJson => Result<serde_json::Value, AgentError>);

impl ExecuteJson {
    async fn run(self) -> Result<serde_json::Value, AgentError> {
        self.returning().await
    }
}

operation!(Tell => Result<(), AgentError>);

impl Tell {
    async fn run(self) -> Result<(), AgentError> {
        let running = self.operation.begin();
        let outcome = async {
            let line = line(&self.command, self.arguments)?;
            match running.answer(Request::Command(line)).await {
                Ok(answer @ AgentAnswer::Error(_)) => typed(answer),
                Ok(_) | Err(AgentFailure::Gone) => Ok(()),
                Err(AgentFailure::Interrupted { cause, was_sent })
                    if was_sent && cause.is_of_the_server() =>
                {
                    Ok(())
                }
                Err(failure) => Err(failure),
            }
        };
        let outcome: Result<(), AgentFailure> = outcome.await;
        outcome.map_err(|failure| running.error(&self.command, failure))
    }
}

async fn execute<T: DeserializeOwned>(
    operation: Operation,
    command: String,
    arguments: serde_json::Result<Box<RawValue>>,
) -> Result<T, AgentError> {
    operation.begin().call_raw(&command, arguments).await
}
