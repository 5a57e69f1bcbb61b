//! A channel for one value: one side sends it, and one future receives it.
//!
//! It is tokio's `oneshot` with one difference: `send` and the drop of a sender do
//! not panic if the receiver's waker does. So a sender with several receivers
//! reaches all of them.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "guarded here, for the other modules"
)]

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot as unguarded;

use crate::wake;

/// Sends the value once. If it is dropped before that, the receiver gets
/// [`Dropped`].
#[derive(Debug)]
pub struct Sender<T>(Option<unguarded::Sender<T>>);

/// A future of the value.
#[derive(Debug)]
pub struct Receiver<T>(unguarded::Receiver<T>);

/// The sender was dropped, or the value was received before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropped;

/// A channel for one value.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = unguarded::channel();
    (Sender(Some(sender)), Receiver(receiver))
}

impl<T> Sender<T> {
    /// Sends the value.
    ///
    /// # Errors
    /// The receiver was dropped. The value is returned.
    pub fn send(mut self, value: T) -> Result<(), T> {
        let Some(sender) = self.0.take() else {
            return Err(value);
        };
        let mut unsent = None;
        wake(|| unsent = sender.send(value).err());
        unsent.map_or(Ok(()), Err)
    }

    /// Whether the receiver was dropped.
    pub fn is_closed(&self) -> bool {
        self.0.as_ref().is_none_or(unguarded::Sender::is_closed)
    }

    /// Waits until the receiver is dropped.
    pub async fn closed(&mut self) {
        if let Some(sender) = &mut self.0 {
            sender.closed().await;
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            wake(|| drop(sender));
        }
    }
}

impl<T> Receiver<T> {
    /// Refuses a later value. A value that was sent already can be received.
    pub fn close(&mut self) {
        self.0.close();
    }

    /// The value, if it was sent already.
    ///
    /// # Errors
    /// It was not sent, or the sender was dropped.
    pub fn try_recv(&mut self) -> Result<T, Dropped> {
        self.0.try_recv().map_err(|_| Dropped)
    }
}

impl<T> Future for Receiver<T> {
    type Output = Result<T, Dropped>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let received = Pin::new(&mut self.0).poll(context);
        received.map_err(|_| Dropped)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;
    use crate::engine::tests::panics;

    fn is_waited_for<T>(receiver: &mut Receiver<T>, waker: &Waker) {
        let mut context = Context::from_waker(waker);
        assert!(pin!(receiver).poll(&mut context).is_pending());
    }

    #[test]
    fn a_waker_that_panics_harms_neither_who_sends_nor_who_drops_a_sender() {
        let (sender, mut receiver) = channel();
        is_waited_for(&mut receiver, &panics());
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(receiver.try_recv(), Ok(1));

        let (sender, mut receiver) = channel::<()>();
        is_waited_for(&mut receiver, &panics());
        drop(sender);
        assert_eq!(receiver.try_recv(), Err(Dropped));
    }

    #[test]
    fn a_value_that_nobody_receives_is_given_back() {
        let (sender, receiver) = channel();
        drop(receiver);
        assert_eq!(sender.send(1), Err(1));
    }
}
