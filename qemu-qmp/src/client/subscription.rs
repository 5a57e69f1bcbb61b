//! Listening: one type for events, messages and other items that come in order.
//!
//! A subscription owns the listener's end of a queue. The reader of the
//! connection fills the other end.

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use qemu_qmp_engine::Deadlines;
use qemu_qmp_engine::queue::{Next, NoItem, Queue, Queued, Receiver};
use qemu_qmp_engine::{operation, timeout_option};

use super::EventError;
use crate::Disconnected;
use crate::reader::PeerContext;

/// Receives items in order, from the moment it was made: events
/// ([`Events`](crate::Events)) or messages ([`Tap`](crate::Tap)).
///
/// Make it before the command whose events you want, and you miss none. Drop it
/// to stop listening.
///
/// Its queue is bounded: 100,000 items and 16 MiB. A listener that lags loses
/// the oldest items, and gets [`EventError::Lagged`] with their number.
///
/// It is also a [`Stream`], for the combinators of the `futures` crates. The
/// stream has no deadline. It returns [`EventError::Lagged`] where items were
/// dropped, and [`EventError::Ended`] once, as its last item.
pub struct Subscription<T, C = Disconnected> {
    what: &'static str,
    receiver: Receiver<T, C>,
    context: Arc<dyn PeerContext>,
}

impl<T: Queued, C: Clone> Subscription<T, C> {
    /// Waits for the next item.
    ///
    /// # Errors
    /// [`EventError::Timeout`] after 30 s, or the [`timeout`](NextItem::timeout)
    /// set; [`EventError::Lagged`], [`EventError::Ended`].
    ///
    /// # Cancel safety
    /// No item is lost if the future is dropped.
    #[expect(
        clippy::should_implement_trait,
        reason = "it returns a future, as for a stream"
    )]
    pub fn next(&mut self) -> NextItem<'_, T, C> {
        NextItem {
            next: self.receiver.next(None),
            expected: self.what.into(),
            what: self.what,
            context: &*self.context,
        }
    }

    /// Waits for the next item for which `matches` returns `true`. `expected`
    /// names it in errors. Items before it stay for later calls.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    ///
    /// # Cancel safety
    /// No item is lost if the future is dropped.
    pub fn next_where(
        &mut self,
        expected: impl Into<String>,
        matches: impl Fn(&T) -> bool + Send + 'static,
    ) -> NextItem<'_, T, C> {
        NextItem {
            next: self.receiver.next(Some(Box::new(matches))),
            expected: expected.into().into(),
            what: self.what,
            context: &*self.context,
        }
    }

    /// Waits for the next item, and owns the subscription while it waits. The
    /// result is the subscription and the item: for callers that cannot keep a
    /// borrow, such as bindings for other languages.
    ///
    /// # Errors
    /// As for [`next`](Self::next), in the second part of the result.
    ///
    /// # Cancel safety
    /// If the future is dropped, the subscription is dropped too.
    pub fn into_next(self) -> IntoNext<T, C> {
        IntoNext {
            timeout: self.receiver.limit(),
            subscription: self,
        }
    }

    /// The next item, if it is in the queue now. Lost items are reported by the
    /// next wait.
    pub fn try_next(&mut self) -> Option<T> {
        self.receiver.try_next()
    }

    /// All items in the queue now. Otherwise as [`try_next`](Self::try_next).
    pub fn take_all(&mut self) -> Vec<T> {
        self.receiver.take_all()
    }

    /// Drops all items in the queue now.
    pub fn clear(&mut self) {
        self.receiver.clear();
    }

    /// Keeps a history from now on, which includes the items that were taken.
    /// Its bounds are those of the queue: it drops its oldest items first.
    pub fn with_history(self) -> Self {
        self.receiver.keep_history();
        self
    }

    /// The items received since [`with_history`](Self::with_history), taken or
    /// not, oldest first. Empty without a history.
    pub fn history(&self) -> Vec<T> {
        self.receiver.history()
    }

    /// For crates that build on this one. `what` is the name of an item in
    /// errors.
    #[doc(hidden)]
    pub fn new(
        what: &'static str,
        queue: Arc<Queue<T, C>>,
        deadlines: Deadlines,
        context: Arc<dyn PeerContext>,
    ) -> Self {
        Self {
            what,
            receiver: Receiver::new(queue, deadlines),
            context,
        }
    }
}

impl<T, C> fmt::Debug for Subscription<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("to", &self.what)
            .field("of", &self.context.name())
            .finish_non_exhaustive()
    }
}

impl<T: Queued + Unpin, C: Clone + Unpin> Stream for Subscription<T, C> {
    type Item = Result<T, EventError<C>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.receiver.poll_next_or_end(context);
        let error = |none| error(none, self.what, self.what, &*self.context);
        next.map(|next| next.map(|next| next.map_err(error)))
    }
}

/// Waits for an item; made by [`Subscription`].
#[must_use = "does nothing until awaited or waited for"]
pub struct NextItem<'a, T: Queued, C: Clone = Disconnected> {
    pub(super) next: Next<'a, T, C>,
    expected: Cow<'static, str>,
    what: &'static str,
    context: &'a dyn PeerContext,
}

timeout_option!({T: Queued, C: Clone} NextItem<'_, T, C>, next.timeout);

impl<T: Queued, C: Clone> NextItem<'_, T, C> {
    /// The server's name in errors.
    pub(super) fn server(&self) -> String {
        self.context.name()
    }
}

/// Waits for an item and returns the subscription with it; made by
/// [`Subscription::into_next`].
#[must_use = "does nothing until awaited or waited for"]
pub struct IntoNext<T: Queued, C: Clone = Disconnected> {
    subscription: Subscription<T, C>,
    timeout: Option<Duration>,
}

timeout_option!({T: Queued, C: Clone} IntoNext<T, C>, timeout);

operation!(
    {T: Queued + Send + 'static, C: Clone + Send + 'static} IntoNext<T, C>
        => (Subscription<T, C>, Result<T, EventError<C>>)
);

impl<T: Queued + Send + 'static, C: Clone + Send + 'static> IntoNext<T, C> {
    async fn run(self) -> (Subscription<T, C>, Result<T, EventError<C>>) {
        let Self {
            mut subscription,
            timeout,
        } = self;
        let next = subscription.next().timeout(timeout).await;
        (subscription, next)
    }
}

impl<T: Queued + Send, C: Clone + Send> Future for NextItem<'_, T, C> {
    type Output = Result<T, EventError<C>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let next = Pin::new(&mut self.next).poll(context);
        next.map(|next| next.map_err(|none| error(none, &self.expected, self.what, self.context)))
    }
}

fn error<C>(
    none: NoItem<C>,
    expected: &str,
    what: &'static str,
    context: &dyn PeerContext,
) -> EventError<C> {
    let server = context.name();
    match none {
        NoItem::Timeout(limit) => EventError::Timeout {
            server,
            expected: expected.to_owned(),
            limit,
            seen: context.seen(),
        },
        NoItem::Lagged(missed) => EventError::Lagged {
            server,
            what,
            missed,
        },
        NoItem::Ended(cause) => EventError::Ended {
            server,
            what,
            cause,
        },
    }
}
