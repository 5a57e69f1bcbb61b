//! One command: from its arguments to its reply.

use std::future::{Future, IntoFuture};
use std::marker::PhantomData;
use std::pin::Pin;
use std::time::Duration;

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{Client, DEFAULT_TIMEOUT, ExecuteError, Reply};
use crate::Command;
use crate::engine::{self, Elapsed, NotSent};
use crate::wire::Line;

/// A typed command, not sent yet; made by [`Client::execute`].
///
/// # Errors
/// Each variant of [`ExecuteError`] says when.
///
/// # Cancel safety
/// If the future is dropped after the command was sent, the command may be
/// executed all the same; its reply is dropped and reaches nobody else.
#[must_use = "nothing is sent until awaited or waited for"]
pub struct Execute<C> {
    request: Request,
    command: PhantomData<fn() -> C>,
}

/// A command by its name, not sent yet; made by [`Client::execute_json`].
///
/// # Errors
/// Each variant of [`ExecuteError`] says when.
///
/// # Cancel safety
/// As for [`Execute`].
#[must_use = "nothing is sent until awaited or waited for"]
pub struct ExecuteJson {
    request: Request,
}

struct Request {
    client: Client,
    name: String,
    arguments: serde_json::Result<Box<RawValue>>,
    out_of_band: bool,
    timeout: Option<Duration>,
}

impl<C: Command> Execute<C> {
    pub(super) fn new(client: Client, command: C) -> Self {
        let request = Request::new(client, C::NAME, command, C::OOB);
        Self {
            request,
            command: PhantomData,
        }
    }

    /// Waits no longer than this instead of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Some(timeout);
        self
    }

    /// Waits as long as the connection lives.
    pub fn no_timeout(mut self) -> Self {
        self.request.timeout = None;
        self
    }
}

impl ExecuteJson {
    pub(super) fn new(client: Client, name: &str, arguments: impl Serialize) -> Self {
        Self {
            request: Request::new(client, name, arguments, false),
        }
    }

    /// Waits no longer than this instead of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = Some(timeout);
        self
    }

    /// Waits as long as the connection lives.
    pub fn no_timeout(mut self) -> Self {
        self.request.timeout = None;
        self
    }

    /// Executes the command out of band, ahead of what waits its turn.
    pub fn out_of_band(mut self) -> Self {
        self.request.out_of_band = true;
        self
    }

    /// Takes the return value as a type of the caller's instead of a
    /// [`serde_json::Value`]. For what was received as it stands, take a
    /// `Box<RawValue>`.
    pub fn returning<T: DeserializeOwned + 'static>(
        self,
    ) -> impl Future<Output = Result<T, ExecuteError>> + Send {
        self.request.run()
    }
}

impl<C> IntoFuture for Execute<C>
where
    C: Command + 'static,
{
    type Output = Result<C::Return, ExecuteError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.request.run())
    }
}

impl IntoFuture for ExecuteJson {
    type Output = Result<serde_json::Value, ExecuteError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.request.run())
    }
}

impl Request {
    fn new(client: Client, name: &str, arguments: impl Serialize, out_of_band: bool) -> Self {
        Self {
            client,
            name: name.to_owned(),
            arguments: serde_json::value::to_raw_value(&arguments),
            out_of_band,
            timeout: Some(DEFAULT_TIMEOUT),
        }
    }

    async fn run<T: DeserializeOwned>(self) -> Result<T, ExecuteError> {
        let Self {
            client,
            name: command,
            arguments,
            out_of_band,
            timeout,
        } = self;
        let arguments = match arguments {
            Ok(raw) if raw.get() == "null" => None,
            // The server takes no arguments and an empty object for the same.
            Ok(raw) if raw.get().starts_with('{') => Some(raw),
            Ok(raw) => {
                let reason = format!("they must be an object, and are {raw}");
                return Err(ExecuteError::Arguments { command, reason });
            }
            Err(error) => {
                return Err(ExecuteError::Arguments {
                    command,
                    reason: error.to_string(),
                });
            }
        };
        if out_of_band && !client.oob() {
            return Err(ExecuteError::NoOutOfBand { command });
        }
        let text = arguments.as_ref().map(|raw| raw.get().as_bytes());
        let line = Line::new(&command, text, out_of_band);
        let reply = match exchange(&client, line, timeout).await {
            Ok(reply) => reply,
            Err(Failure::Congested) => return Err(ExecuteError::Congested { command }),
            Err(Failure::Interrupted(cause)) => {
                return Err(ExecuteError::Interrupted { command, cause });
            }
            Err(Failure::Timeout(limit)) => return Err(ExecuteError::Timeout { command, limit }),
        };
        match reply {
            Ok(received) => {
                serde_json::from_str(received.get()).map_err(|cause| ExecuteError::Shape {
                    command,
                    received,
                    cause,
                })
            }
            Err(reply) => Err(ExecuteError::Refused {
                command,
                arguments,
                reply: Box::new(reply),
            }),
        }
    }
}

enum Failure {
    Congested,
    Interrupted(super::Disconnected),
    Timeout(Duration),
}

/// Sends a line and waits for its reply.
async fn exchange(
    client: &Client,
    line: Line,
    timeout: Option<Duration>,
) -> Result<Reply, Failure> {
    let shared = &client.handle.shared;
    let (waiter, reply) = oneshot::channel();
    let (id, bytes) = shared.submit(line, waiter).map_err(Failure::Interrupted)?;
    let _abandon = Abandon { client, id };
    if let Err(NotSent::Full) = shared.stream.send(&bytes) {
        shared.lock().connection.withdraw(id);
        return Err(Failure::Congested);
    }
    match engine::timeout(timeout, reply).await {
        Ok(Ok(answer)) => answer.map_err(Failure::Interrupted),
        // The books were dropped with the connection.
        Ok(Err(_)) => Err(Failure::Interrupted(super::Disconnected::ByClient)),
        Err(Elapsed(limit)) => Err(Failure::Timeout(limit)),
    }
}

/// Marks a command in the books when nobody waits for its reply any more.
struct Abandon<'a> {
    client: &'a Client,
    id: u64,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        self.client.handle.shared.lock().connection.abandon(self.id);
    }
}
