//! One operation on the agent, and its calls. All calls share the operation's
//! deadline.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::process::LastStatus;
use super::{
    AgentError, AgentFailure, ChannelEnd, GuestAgent, Keep, Outcome, Shared, State, Waiter,
};
use crate::wire::{AgentAnswer, Line, PauseReason, RequestStage};
use qemu_qmp_engine::{self as engine, Elapsed, oneshot, race};

/// An operation that has not started.
#[derive(Clone)]
pub(super) struct Operation {
    agent: GuestAgent,
    pub(super) timeout: Option<Duration>,
}

impl Operation {
    pub(super) fn new(agent: GuestAgent) -> Self {
        let timeout = agent.deadlines().limit();
        Self { agent, timeout }
    }

    pub(super) fn agent(&self) -> GuestAgent {
        self.agent.clone()
    }

    pub(super) fn begin(&self) -> Running<'_> {
        let shared = self.agent.shared();
        Running {
            shared,
            begun: shared.deadlines.now(),
            limit: self.timeout,
            asked: Mutex::default(),
        }
    }
}

/// A running operation. Its calls share its deadline.
pub(super) struct Running<'a> {
    shared: &'a Arc<Shared>,
    begun: Instant,
    limit: Option<Duration>,
    /// When its last question was asked.
    asked: Mutex<Option<Instant>>,
}

/// A request to the agent.
pub(super) enum Request {
    Sync,
    Command(Line),
    /// A command that returns the handle of a file.
    Open(Line),
    /// A command that returns a program's state, which is kept here.
    Status(Line, LastStatus),
}

impl Running<'_> {
    /// Executes a command, and returns its value as a type.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        command: &str,
        arguments: impl Serialize,
    ) -> Result<T, AgentError> {
        self.call_raw(command, serde_json::value::to_raw_value(&arguments))
            .await
    }

    /// The same, with arguments that were converted to JSON.
    pub(super) async fn call_raw<T: DeserializeOwned>(
        &self,
        command: &str,
        arguments: serde_json::Result<Box<RawValue>>,
    ) -> Result<T, AgentError> {
        let outcome = async {
            let request = Request::Command(line(command, arguments)?);
            typed(self.answer(request).await?)
        };
        outcome.await.map_err(|it| self.error(command, it))
    }

    /// Waits for the answer to a request, which may be an error reply.
    pub(super) async fn answer(&self, request: Request) -> Result<AgentAnswer, AgentFailure> {
        let shared = self.shared;
        *self.asked() = Some(shared.deadlines.now());
        let mut call = match Call::begin(shared, request) {
            Ok(call) => call,
            Err(failure) => {
                // The channel has ended, and its waiters may not be notified yet:
                // this caller must not know before them.
                let notified = shared.deadlines.timeout(self.left(), shared.notified());
                let _ = notified.await;
                return Err(failure);
            }
        };
        match shared.deadlines.timeout(self.left(), &mut call.reply).await {
            Ok(Ok(Ok(AgentAnswer::NotUnderstood(error)))) => {
                Err(AgentFailure::NotUnderstood { error })
            }
            Ok(Ok(Ok(AgentAnswer::Gone))) => Err(AgentFailure::Gone),
            Ok(Ok(Ok(AgentAnswer::GuestPaused(reason)))) => Err(match reason {
                PauseReason::Panicked => AgentFailure::GuestPanicked,
                PauseReason::ShutDown => AgentFailure::GuestShutDown,
            }),
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(ChannelEnd { cause, was_sent }))) => {
                Err(AgentFailure::Interrupted { cause, was_sent })
            }
            // Its waiter was dropped with the channel.
            Ok(Err(_)) => Err(AgentFailure::Interrupted {
                cause: crate::Disconnected::ByClient,
                was_sent: true,
            }),
            Err(Elapsed(_)) => Err(AgentFailure::timed_out(call.give_up(), self.limit())),
        }
    }

    /// Pauses. The channel's end and the deadline end the pause.
    ///
    /// # Errors
    /// The deadline passed.
    pub(super) async fn pause(&self, pace: Duration) -> Result<(), Elapsed> {
        let either = race(self.shared.notified(), engine::pause(pace));
        let _ = self.shared.deadlines.timeout(self.left(), either).await;
        match (self.left(), self.limit) {
            (Some(Duration::ZERO), Some(limit)) => Err(Elapsed(limit)),
            _ => Ok(()),
        }
    }

    /// How long ago the last question was asked.
    pub(super) fn asked_for(&self) -> Option<Duration> {
        let asked = *self.asked();
        asked.map(|asked| self.shared.deadlines.now() - asked)
    }

    fn asked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn error(&self, command: &str, failure: AgentFailure) -> AgentError {
        let context = &self.shared.context;
        AgentError {
            server: context.name(),
            command: command.to_owned(),
            seen: if failure.is_silence() {
                context.seen()
            } else {
                String::new()
            },
            failure: Box::new(failure),
        }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        self.shared
    }

    /// The operation's time limit.
    pub(super) fn limit(&self) -> Duration {
        self.limit.unwrap_or_default()
    }

    /// The time until the operation's deadline.
    fn left(&self) -> Option<Duration> {
        let elapsed = self.shared.deadlines.now() - self.begun;
        self.limit.map(|limit| limit.saturating_sub(elapsed))
    }
}

/// The line of a command. Its arguments must be an object or null.
pub(super) fn line(
    command: &str,
    arguments: serde_json::Result<Box<RawValue>>,
) -> Result<Line, AgentFailure> {
    let reason = match arguments {
        Ok(raw) if raw.get() == "null" => return Ok(Line::new(command, None, false)),
        Ok(raw) if raw.get().starts_with('{') => {
            return Ok(Line::new(command, Some(raw.get().as_bytes()), false));
        }
        Ok(raw) => format!("they must be an object, but are {raw}"),
        Err(error) => error.to_string(),
    };
    Err(AgentFailure::Arguments { reason })
}

/// Reads an answer as a return value of this type.
pub(super) fn typed<T: DeserializeOwned>(answer: AgentAnswer) -> Result<T, AgentFailure> {
    match answer {
        AgentAnswer::Return(received) => {
            serde_json::from_str(received.get()).map_err(|cause| AgentFailure::Shape {
                received,
                cause: Arc::new(cause),
            })
        }
        AgentAnswer::Error(reply) => Err(AgentFailure::Refused {
            reply: Box::new(reply),
        }),
        _ => Err(AgentFailure::NoReply),
    }
}

/// A request in the table. It leaves the table when it is dropped.
struct Call<'a> {
    shared: &'a Shared,
    id: u64,
    reply: oneshot::Receiver<Outcome>,
    opens: bool,
}

impl<'a> Call<'a> {
    fn begin(shared: &'a Shared, request: Request) -> Result<Self, AgentFailure> {
        let opens = matches!(request, Request::Open(_));
        let (outcome, reply) = oneshot::channel();
        let keep = match &request {
            Request::Sync | Request::Command(_) => Keep::Nothing,
            Request::Open(_) => Keep::File,
            Request::Status(_, last) => Keep::Status(last.clone()),
        };
        let waiter = Waiter { outcome, keep };
        let id = shared.change(|State { connection, ended }| {
            if let Some(cause) = ended {
                return Err(AgentFailure::Interrupted {
                    cause: cause.clone(),
                    was_sent: false,
                });
            }
            Ok(match request {
                Request::Sync => connection.submit_sync(waiter),
                Request::Command(line) => connection.submit(line, waiter),
                Request::Open(line) | Request::Status(line, _) => {
                    connection.submit_kept(line, waiter)
                }
            })
        })?;
        Ok(Self {
            shared,
            id,
            reply,
            opens,
        })
    }

    fn give_up(&self) -> RequestStage {
        let id = self.id;
        self.shared.change(|state| state.connection.give_up(id))
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // From here on, `change` finds that the receiver is gone.
        self.reply.close();
        self.give_up();
        if self.opens
            && let Ok(Ok(answer)) = self.reply.try_recv()
        {
            self.shared.close_unclaimed(answer);
        }
    }
}
