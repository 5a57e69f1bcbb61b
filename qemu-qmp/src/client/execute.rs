//! One command: from its arguments to its reply.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use serde_core::Serialize;
use serde_core::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{Client, ExecuteError, ExecuteFailure, PassedFd, Reply};
use crate::command::{Command, HumanMonitorCommand};
use crate::wire::{ErrorReply, Id, Line};
use qemu_qmp_engine::{Elapsed, NotSent, Span, oneshot, operation, timeout_option};

/// Executes a typed command; made by [`Client::execute`].
///
/// # Errors
/// [`ExecuteError`]; its [`failure`](ExecuteError::failure) is the reason.
///
/// # Cancel safety
/// If the future is dropped after the command was sent, the server may still
/// execute it. Its reply is dropped, and reaches no other caller.
#[must_use = "nothing is sent until awaited or waited for"]
pub struct Execute<C> {
    request: Request,
    command: PhantomData<fn() -> C>,
}

/// Executes a command by its name; made by [`Client::execute_json`]. Its
/// options are those of [`Execute`].
///
/// # Errors
/// [`ExecuteError`]; its [`failure`](ExecuteError::failure) is the reason.
///
/// # Cancel safety
/// As for [`Execute`].
#[must_use = "nothing is sent until awaited or waited for"]
pub struct ExecuteJson<T = serde_json::Value> {
    request: Request,
    returned: PhantomData<fn() -> T>,
}

/// One command with its options, for both operations.
struct Request {
    client: Client,
    name: String,
    arguments: serde_json::Result<Box<RawValue>>,
    out_of_band: bool,
    descriptors: Vec<PassedFd>,
    id: Option<String>,
    /// Whether a text that reports an error is a refusal.
    fails_on_error: bool,
    timeout: Option<Duration>,
}

/// The options of a command, which are the same for both operations.
macro_rules! command_options {
    ({$($generics:tt)*} $type:ty) => {
        timeout_option!({$($generics)*} $type, request.timeout);

        impl<$($generics)*> $type {
            /// Executes the command out of band: before the commands that the
            /// server has queued. Few commands allow it.
            pub fn out_of_band(mut self) -> Self {
                self.request.out_of_band = true;
                self
            }

            /// Passes a descriptor with the command, for commands that take one.
            /// Only a unix socket can pass it.
            pub fn pass(mut self, descriptor: impl Into<PassedFd>) -> Self {
                self.request.descriptors.push(descriptor.into());
                self
            }

            /// Sends the command with this id instead of a generated one: to
            /// find it in the server's log or in a
            /// [transcript](crate::Transcript). Generated ids are numbers, so a
            /// string never equals one.
            pub fn id(mut self, id: impl Into<String>) -> Self {
                self.request.id = Some(id.into());
                self
            }
        }
    };
}

command_options!({C: Command} Execute<C>);
command_options!({T} ExecuteJson<T>);

impl<C: Command> Execute<C> {
    pub(super) fn new(client: Client, command: C) -> Self {
        Self {
            request: Request::new(client, C::NAME, command, C::OOB),
            command: PhantomData,
        }
    }
}

impl Execute<HumanMonitorCommand> {
    /// Fails with [`ExecuteFailure::Refused`] if the text contains `Error:`.
    /// The human monitor reports failures in this way. The text is the
    /// description in the [reply](ExecuteError::reply).
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
            returned: PhantomData,
        }
    }
}

impl<T> ExecuteJson<T> {
    /// Returns the value as a type of the caller's instead of a
    /// [`serde_json::Value`]. A `Box<RawValue>` is the value as it was received.
    ///
    /// # Examples
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use qemu_qmp::{Client, Wait};
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Name {
    ///     name: Option<String>,
    /// }
    ///
    /// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
    /// let query = qmp.execute_json("query-name", ()).returning::<Name>();
    /// println!("{:?}", query.timeout(Duration::from_secs(1)).wait()?.name);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn returning<U: DeserializeOwned>(self) -> ExecuteJson<U> {
        ExecuteJson {
            request: self.request,
            returned: PhantomData,
        }
    }
}

operation!({C: Command + 'static} Execute<C> => Result<C::Return, ExecuteError>);

impl<C: Command + 'static> Execute<C> {
    async fn run(self) -> Result<C::Return, ExecuteError> {
        self.request.run().await
    }
}

operation!({T: DeserializeOwned + 'static} ExecuteJson<T> => Result<T, ExecuteError>);

impl<T: DeserializeOwned + 'static> ExecuteJson<T> {
    async fn run(self) -> Result<T, ExecuteError> {
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
            descriptors: Vec::new(),
            id: None,
            fails_on_error: false,
            timeout,
        }
    }

    async fn run<T: DeserializeOwned>(self) -> Result<T, ExecuteError> {
        let (client, command) = (self.client.clone(), self.name.clone());
        let span = Span::command(|| client.server(), || command.clone());
        span.around(self.outcome()).await.map_err(|failure| {
            let context = &client.handle.shared.context;
            let seen = match failure {
                ExecuteFailure::Timeout { .. } | ExecuteFailure::Congested => context.seen(),
                _ => String::new(),
            };
            ExecuteError {
                server: context.name(),
                command,
                failure: Box::new(failure),
                seen,
            }
        })
    }

    async fn outcome<T: DeserializeOwned>(self) -> Result<T, ExecuteFailure> {
        let arguments = match self.arguments {
            Ok(raw) if raw.get() == "null" => None,
            // For the server, an empty object is the same as no arguments.
            Ok(raw) if raw.get().starts_with('{') => Some(raw),
            Ok(raw) => {
                let reason = format!("they must be an object, but are {raw}");
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
        for descriptor in self.descriptors {
            let failed = |(path, cause)| ExecuteFailure::File {
                path,
                cause: Arc::new(cause),
            };
            descriptors.push(descriptor.open().map_err(failed)?);
        }
        match exchange(&self.client, self.id, line, descriptors, self.timeout).await? {
            Ok(received) if self.fails_on_error && reports_an_error(&received) => {
                Err(ExecuteFailure::Refused {
                    arguments,
                    reply: Box::new(ErrorReply::of_text(received)),
                })
            }
            Ok(received) => {
                serde_json::from_str(received.get()).map_err(|cause| ExecuteFailure::Shape {
                    received,
                    cause: Arc::new(cause),
                })
            }
            Err(reply) => Err(ExecuteFailure::Refused {
                arguments,
                reply: Box::new(reply),
            }),
        }
    }
}

/// Whether the text of the human monitor reports an error, such as `Error: Device
/// 'd' not found` (QEMU's `hmp_handle_error`).
fn reports_an_error(text: &RawValue) -> bool {
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
    // QEMU keeps only the last descriptor that it received, until a command takes
    // it. So the next command waits until this one has been answered.
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
        Err(failure @ ExecuteFailure::Interrupted { .. }) => {
            // The connection has ended, and its waiters may not be notified yet:
            // this caller must not know before them.
            let notified = shared.is_notified.until(|it| it.then_some(()));
            let _ = shared.deadlines.timeout(timeout, notified).await;
            return Err(failure);
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
        // The table of waiters was dropped with the connection.
        Ok(Err(_)) => Err(interrupted(crate::Disconnected::ByClient)),
        Err(Elapsed(limit)) => Err(ExecuteFailure::Timeout { limit }),
    }
}

/// Marks the command in the table when its caller no longer waits.
struct Abandon<'a> {
    client: &'a Client,
    id: Id,
}

impl Drop for Abandon<'_> {
    fn drop(&mut self) {
        let shared = &self.client.handle.shared;
        // The caller's receiver is dropped before this.
        let mut state = shared.lock();
        state
            .connection
            .abandon_if(&self.id, oneshot::Sender::is_closed);
    }
}
