//! One command on a qtest channel: from its lines to what their replies bring.

use qemu_qmp_engine::{operation, timeout_option};
use std::fmt;
use std::time::Duration;

use qemu_qmp::supervise::PeerContext;
use qemu_qmp_engine::Elapsed;

use super::lines::Line;
use super::wire::Reply;
use super::{Qtest, QtestError, QtestFailure};

/// A command on a qtest channel, not sent yet; made by [`Qtest`].
///
/// # Errors
/// [`QtestError`], whose [`failure`](QtestError::failure) says which.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the command may be carried
/// out all the same, that of a large buffer in part; its reply is dropped and
/// reaches nobody else.
#[must_use = "nothing is sent until awaited or waited for"]
pub struct QtestCommand<T> {
    qtest: Qtest,
    /// What errors call it.
    name: String,
    lines: Result<Lines, QtestFailure>,
    output: T,
    take: Take<T>,
    timeout: Option<Duration>,
}

/// The lines to be sent, each when the one before has been answered.
pub(super) type Lines = Box<dyn Iterator<Item = Line> + Send>;

/// Takes in the reply to a line that is about so many bytes.
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

    /// Has it fail for an argument, before anything is sent.
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
