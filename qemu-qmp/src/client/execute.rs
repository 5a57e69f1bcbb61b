//! One command: from its arguments to its reply.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::time::Duration;

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Client, ExecuteError, ExecuteFailure, Passed, Reply};
use crate::wire::{ErrorReply, Id, Line};
use crate::{Command, HumanMonitorCommand};
use qemu_qmp_engine::{Elapsed, NotSent, oneshot, operation, timeout_option};

/// A typed command, not sent yet; made by [`Client::execute`].
///
/// # Errors
/// [`ExecuteError`], whose [`failure`](ExecuteError::failure) says which.
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
/// [`ExecuteError`], whose [`failure`](ExecuteError::failure) says which.
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
    passed: Vec<Passed>,
    id: Option<String>,
    /// Whether a text that tells of an error is a refusal.
    fails_on_error: bool,
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
}

timeout_option!({C: Command} Execute<C>, request.timeout);

impl Execute<HumanMonitorCommand> {
    /// Fails with [`ExecuteFailure::Refused`] if the text has `Error:` in it,
    /// which is how the monitor for people reports that a command failed. The
    /// text is the description in the [reply](ExecuteError::reply).
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_qmp::{Client, Wait};
    ///
    /// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
    /// let error = qmp.human("loadvm missing").fail_on_error().wait().unwrap_err();
    /// println!("{}", error.reply().unwrap().desc);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fail_on_error(mut self) -> Self {
        self.request.fails_on_error = true;
        self
    }
}

impl ExecuteJson {
    pub(super) fn new(client: Client, name: &str, arguments: impl Serialize) -> Self {
        Self {
            request: Request::new(client, name, arguments, false),
        }
    }

    /// Executes the command out of band, ahead of what waits its turn.
    pub fn out_of_band(mut self) -> Self {
        self.request.out_of_band = true;
        self
    }

    /// Passes a descriptor along, for commands that take one. Over unix sockets
    /// alone.
    pub fn pass(mut self, descriptor: impl Into<Passed>) -> Self {
        self.request.passed.push(descriptor.into());
        self
    }

    /// Sends the command by this id, instead of one of ours: to find it in a log
    /// of the server's, or in a [transcript](crate::Transcript). Ours are numbers,
    /// so a text is never one of them.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.request.id = Some(id.into());
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

timeout_option!(ExecuteJson, request.timeout);

operation!({C: Command + 'static} Execute<C> => Result<C::Return, ExecuteError>);

impl<C: Command + 'static> Execute<C> {
    async fn run(self) -> Result<C::Return, ExecuteError> {
        self.request.run().await
    }
}

operation!(ExecuteJson => Result<serde_json::Value, ExecuteError>);

impl ExecuteJson {
    async fn run(self) -> Result<serde_json::Value, ExecuteError> {
        self.request.run().await
    }
}

impl Request {
    fn new(client: Client, name: &str, arguments: impl Serialize, out_of_band: bool) -> Self {
        let timeout = client.deadlines().limit();
        Self {
            client,
            name: name.to_owned(),
            arguments: serde_json::value::to_raw_value(&arguments),
            out_of_band,
            passed: Vec::new(),
            id: None,
            fails_on_error: false,
            timeout,
        }
    }

    async fn run<T: DeserializeOwned>(self) -> Result<T, ExecuteError> {
        let (client, command) = (self.client.clone(), self.name.clone());
        self.outcome().await.map_err(|failure| {
            let witness = &client.handle.shared.context;
            let seen = match failure {
                ExecuteFailure::Timeout { .. } | ExecuteFailure::Congested => witness.seen(),
                _ => String::new(),
            };
            ExecuteError {
                server: witness.name(),
                command,
                failure: Box::new(failure),
                seen,
            }
        })
    }

    async fn outcome<T: DeserializeOwned>(self) -> Result<T, ExecuteFailure> {
        let arguments = match self.arguments {
            Ok(raw) if raw.get() == "null" => None,
            // The server takes no arguments and an empty object for the same.
            Ok(raw) if raw.get().starts_with('{') => Some(raw),
            Ok(raw) => {
                let reason = format!("they must be an object, and are {raw}");
                return Err(ExecuteFailure::Arguments { reason });
            }
            Err(error) => {
                let reason = error.to_string();
                return Err(ExecuteFailure::Arguments { reason });
            }
        };
        if self.out_of_band && !self.client.oob() {
            return Err(ExecuteFailure::NoOutOfBand);
        }
        let text = arguments.as_ref().map(|raw| raw.get().as_bytes());
        let line = Line::new(&self.name, text, self.out_of_band);
        let mut descriptors = Vec::new();
        for passed in self.passed {
            let opened = passed.open();
            let failed = |(path, cause)| ExecuteFailure::File { path, cause };
            descriptors.push(opened.map_err(failed)?);
        }
        match exchange(&self.client, self.id, line, descriptors, self.timeout).await? {
            Ok(received) if self.fails_on_error && tells_of_an_error(&received) => {
                Err(ExecuteFailure::Refused {
                    arguments,
                    reply: Box::new(ErrorReply::of_text(received)),
                })
            }
            Ok(received) => serde_json::from_str(received.get())
                .map_err(|cause| ExecuteFailure::Shape { received, cause }),
            Err(reply) => Err(ExecuteFailure::Refused {
                arguments,
                reply: Box::new(reply),
            }),
        }
    }
}

/// Whether the monitor for people reports an error, by a text such as `Error:
/// Device 'd' not found` (QEMU's `hmp_handle_error`).
fn tells_of_an_error(text: &RawValue) -> bool {
    text.get().contains("Error:")
}

/// Sends a line, with descriptors if there are any, and waits for its reply.
async fn exchange(
    client: &Client,
    id: Option<String>,
    line: Line,
    descriptors: Vec<OwnedFd>,
    timeout: Option<Duration>,
) -> Result<Reply, ExecuteFailure> {
    if descriptors.is_empty() {
        return transmit(client, id, line, &[], timeout).await;
    }
    let shared = &client.handle.shared;
    if !shared.stream.passes_descriptors() {
        return Err(ExecuteFailure::NoDescriptors);
    }
    // QEMU keeps what was passed last, until a command takes it: the next may
    // come when this one has been answered.
    let in_turn = async {
        let _turn = shared.passing.lock().await;
        transmit(client, id, line, &descriptors, None).await
    };
    match shared.deadlines.timeout(timeout, in_turn).await {
        Ok(outcome) => outcome,
        Err(Elapsed(limit)) => Err(ExecuteFailure::Timeout { limit }),
    }
}

async fn transmit(
    client: &Client,
    id: Option<String>,
    line: Line,
    descriptors: &[OwnedFd],
    timeout: Option<Duration>,
) -> Result<Reply, ExecuteFailure> {
    let shared = &client.handle.shared;
    let interrupted = |cause| ExecuteFailure::Interrupted { cause };
    let (waiter, reply) = oneshot::channel();
    let (id, bytes) = match shared.submit(id, line, waiter) {
        Ok(submitted) => submitted,
        Err(over @ ExecuteFailure::Interrupted { .. }) => {
            // Who comes between the end and its word has it with all others.
            let told = shared.is_notified.until(|told| told.then_some(()));
            let _ = shared.deadlines.timeout(timeout, told).await;
            return Err(over);
        }
        Err(failure) => return Err(failure),
    };
    let abandon = Abandon { client, id };
    let sent = if descriptors.is_empty() {
        shared.send(&bytes)
    } else {
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        shared.send_with(&bytes, &descriptors)
    };
    if let Err(NotSent::Full) = sent {
        shared.lock().connection.withdraw(&abandon.id);
        return Err(ExecuteFailure::Congested);
    }
    let mut reply = pin!(reply);
    let reply = poll_fn(|context| {
        let polled = reply.as_mut().poll(context);
        if polled.is_pending() {
            qemu_qmp_engine::wait::offer(context, shared);
        }
        polled
    });
    match shared.deadlines.timeout(timeout, reply).await {
        Ok(Ok(answer)) => answer.map_err(interrupted),
        // The books were dropped with the connection.
        Ok(Err(_)) => Err(interrupted(crate::Disconnected::ByClient)),
        Err(Elapsed(limit)) => Err(ExecuteFailure::Timeout { limit }),
    }
}

/// Marks a command in the books when nobody waits for its reply any more.
struct Abandon<'a> {
    client: &'a Client,
    id: Id,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        let shared = &self.client.handle.shared;
        shared.lock().connection.abandon(&self.id);
    }
}
