//! One operation on the agent, and the calls that it consists of.

use std::time::{Duration, Instant};

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::process::Said;
use super::{AgentError, AgentFailure, GuestAgent, Keep, Lost, Shared, State, Told, Waiter};
use crate::wire::{AgentAnswer, AgentHold, Line, Standing};
use qemu_qmp_engine::{self as engine, Elapsed, oneshot, race};

/// An operation that has not begun.
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
        }
    }
}

/// An operation under way; its calls share its deadline.
pub(super) struct Running<'a> {
    shared: &'a Shared,
    begun: Instant,
    limit: Option<Duration>,
}

/// What is asked of the agent.
pub(super) enum Request {
    Sync,
    Command(Line),
    /// A command that returns the handle of a file.
    Open(Line),
    /// A command that returns a program's state, which is kept here.
    Status(Line, Said),
}

impl Running<'_> {
    /// Executes a command, and takes its return value as a type.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        command: &str,
        arguments: impl Serialize,
    ) -> Result<T, AgentError> {
        self.call_raw(command, serde_json::value::to_raw_value(&arguments))
            .await
    }

    /// The same with arguments that are JSON already, if they are.
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

    /// What becomes of a request, be it an error reply or none at all.
    pub(super) async fn answer(&self, request: Request) -> Result<AgentAnswer, AgentFailure> {
        let shared = self.shared;
        let mut call = match Call::begin(shared, request) {
            Ok(call) => call,
            Err(over) => {
                // Who comes between the end and its word has it with all others.
                let told = shared.deadlines.timeout(self.left(), shared.notified());
                let _ = told.await;
                return Err(over);
            }
        };
        match shared.deadlines.timeout(self.left(), &mut call.reply).await {
            Ok(Ok(Ok(AgentAnswer::NotUnderstood(error)))) => {
                Err(AgentFailure::NotUnderstood { error })
            }
            Ok(Ok(Ok(AgentAnswer::Gone))) => Err(AgentFailure::Gone),
            Ok(Ok(Ok(AgentAnswer::Held(hold)))) => Err(match hold {
                AgentHold::Panicked => AgentFailure::GuestPanicked,
                AgentHold::ShutDown => AgentFailure::GuestShutDown,
            }),
            Ok(Ok(Ok(answer))) => Ok(answer),
            Ok(Ok(Err(Lost { cause, was_sent }))) => {
                Err(AgentFailure::Interrupted { cause, was_sent })
            }
            // Its waiter was dropped with the channel.
            Ok(Err(_)) => Err(AgentFailure::Interrupted {
                cause: crate::Disconnected::ByClient,
                was_sent: true,
            }),
            Err(Elapsed(_)) => {
                let limit = self.limit.unwrap_or_default();
                Err(AgentFailure::given_up(call.give_up(), limit))
            }
        }
    }

    /// Lets some time pass, or less: the channel's end and the deadline come
    /// first. Gives the deadline if it has.
    pub(super) async fn pause(&self, pace: Duration) -> Result<(), Duration> {
        let either = race(self.shared.notified(), engine::pause(pace));
        let _ = self.shared.deadlines.timeout(self.left(), either).await;
        match (self.left(), self.limit) {
            (Some(Duration::ZERO), Some(limit)) => Err(limit),
            _ => Ok(()),
        }
    }

    pub(super) fn error(&self, command: &str, failure: AgentFailure) -> AgentError {
        let context = &self.shared.context;
        AgentError {
            server: context.name(),
            command: command.to_owned(),
            seen: if failure.is_of_silence() {
                context.seen()
            } else {
                String::new()
            },
            failure: Box::new(failure),
        }
    }

    /// Has the agent close a file when it can; nobody waits for that.
    pub(super) fn abandon_file(&self, handle: i64) {
        self.shared.close_file(handle);
    }

    /// What is left of the operation's time.
    fn left(&self) -> Option<Duration> {
        let passed = self.shared.deadlines.now() - self.begun;
        self.limit.map(|limit| limit.saturating_sub(passed))
    }
}

/// The line of a command, if its arguments are an object or nothing.
pub(super) fn line(
    command: &str,
    arguments: serde_json::Result<Box<RawValue>>,
) -> Result<Line, AgentFailure> {
    let reason = match arguments {
        Ok(raw) if raw.get() == "null" => return Ok(Line::new(command, None, false)),
        Ok(raw) if raw.get().starts_with('{') => {
            return Ok(Line::new(command, Some(raw.get().as_bytes()), false));
        }
        Ok(raw) => format!("they must be an object, and are {raw}"),
        Err(error) => error.to_string(),
    };
    Err(AgentFailure::Arguments { reason })
}

/// Takes an answer as a return value of this type.
pub(super) fn typed<T: DeserializeOwned>(answer: AgentAnswer) -> Result<T, AgentFailure> {
    match answer {
        AgentAnswer::Return(received) => serde_json::from_str(received.get())
            .map_err(|cause| AgentFailure::Shape { received, cause }),
        AgentAnswer::Error(reply) => Err(AgentFailure::Refused {
            reply: Box::new(reply),
        }),
        _ => Err(AgentFailure::NoReply),
    }
}

/// A request in the books; leaves them when it is dropped.
struct Call<'a> {
    shared: &'a Shared,
    id: u64,
    reply: oneshot::Receiver<Told>,
    opens: bool,
}

impl<'a> Call<'a> {
    fn begin(shared: &'a Shared, request: Request) -> Result<Self, AgentFailure> {
        let opens = matches!(request, Request::Open(_));
        let (told, reply) = oneshot::channel();
        let keep = match &request {
            Request::Sync | Request::Command(_) => Keep::Nothing,
            Request::Open(_) => Keep::File,
            Request::Status(_, said) => Keep::Status(said.clone()),
        };
        let waiter = Waiter { told, keep };
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

    fn give_up(&self) -> Standing {
        let id = self.id;
        self.shared.change(|state| state.connection.give_up(id))
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        // From here on it is `change` that finds nobody to tell.
        self.reply.close();
        self.give_up();
        if self.opens
            && let Ok(Ok(answer)) = self.reply.try_recv()
        {
            self.shared.close_unheard_of(answer);
        }
    }
}
