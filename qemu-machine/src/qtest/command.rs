//! One command on a qtest channel: sends its lines and collects the replies.

use qemu_qmp_engine::{operation, timeout_option};
use std::fmt;
use std::time::Duration;

use qemu_qmp::supervise::PeerContext;
use qemu_qmp_engine::Elapsed;

use super::lines::Line;
use super::wire::Reply;
use super::{Qtest, QtestError, QtestFailure};

/// A command on a qtest channel, not sent yet; returned by the methods of
/// [`Qtest`].
///
/// # Errors
/// [`QtestError`], with the reason in its [`failure`](QtestError::failure).
///
/// # Cancel safety
/// If the future is dropped after it was polled, QEMU may still run the command.
/// A command with a large buffer may run in part. Its reply is dropped and
/// reaches no other caller.
#[must_use = "nothing is sent until awaited or waited for"]
pub struct QtestCommand<T> {
    qtest: Qtest,
    /// The command as errors show it.
    name: String,
    lines: Result<Lines, QtestFailure>,
    output: T,
    take: Take<T>,
    timeout: Option<Duration>,
}

/// The lines to send. Each waits for the reply to the line before it.
pub(super) type Lines = Box<dyn Iterator<Item = Line> + Send>;

/// Adds a reply to the output. The number is the line's
/// [`bytes`](Line::bytes).
pub(super) type Take<T> = fn(&mut T, &Reply, usize) -> Result<(), QtestFailure>;

impl<T> QtestCommand<T> {
    pub(super) fn new(
        qtest: Qtest,
        name: String,
        lines: Result<Lines, QtestFailure>,
        output: T,
        take: Take<T>,
    ) -> Self {
        let timeout = qtest.shared.deadlines.limit();
        Self {
            qtest,
            name,
            lines,
            output,
            take,
            timeout,
        }
    }

    /// Makes the command fail for an argument. Nothing is sent.
    pub(super) fn refuse(&mut self, reason: &'static str) {
        self.lines = Err(QtestFailure::Argument { reason });
    }
}

timeout_option!({T} QtestCommand<T>, timeout);

impl<T> fmt::Debug for QtestCommand<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QtestCommand")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

operation!({T: Send + 'static} QtestCommand<T> => Result<T, QtestError>);

impl<T: Send + 'static> QtestCommand<T> {
    async fn run(self) -> Result<T, QtestError> {
        let Self {
            qtest,
            name,
            lines,
            mut output,
            take,
            timeout,
        } = self;
        let shared = &qtest.shared;
        let all = async {
            for Line { text, bytes } in lines? {
                take(&mut output, &shared.exchange(text).await?, bytes)?;
            }
            Ok(output)
        };
        let outcome = shared.deadlines.timeout(timeout, all).await;
        let outcome = outcome.unwrap_or_else(|Elapsed(limit)| Err(QtestFailure::Timeout { limit }));
        outcome.map_err(|failure| {
            let seen = match failure {
                QtestFailure::Timeout { .. } | QtestFailure::Congested => shared.context.seen(),
                _ => String::new(),
            };
            QtestError {
                server: shared.context.name(),
                command: name,
                failure: Box::new(failure),
                seen,
            }
        })
    }
}
