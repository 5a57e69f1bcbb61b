//! A task on the engine, and its output.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::AbortHandle;

use crate::oneshot;

/// A handle to a task on the engine. It is a future of the task's output, which is
/// `None` if the task was aborted. The task continues if the handle is dropped.
#[derive(Debug)]
pub struct Task<T> {
    output: oneshot::Receiver<T>,
    handle: AbortHandle,
}

impl<T> Task<T> {
    pub(crate) fn new(output: oneshot::Receiver<T>, handle: AbortHandle) -> Self {
        Self { output, handle }
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    /// Ends the task at its next wait.
    pub fn abort(&self) {
        self.handle.abort();
    }
}

impl<T> Future for Task<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.output).poll(context).map(Result::ok)
    }
}

/// A task that ends at its next wait when this is dropped.
#[derive(Debug)]
pub struct AbortWhenDropped<T>(pub Task<T>);

impl<T> Drop for AbortWhenDropped<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
