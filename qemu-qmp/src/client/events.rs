//! Listeners: who hears which events, and when.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;

use super::queue::{Next, Queue, Queued, Receiver};
use super::{EventError, EventPattern};
use crate::engine;
use crate::error_text::Quoted;
use crate::wire::Event;

/// A listener: hears every event from when it was made, in order.
///
/// Make it before the command whose events it shall hear; then none is
/// missed, however soon they come. Drop it to stop listening.
///
/// It is also a [`Stream`], for the combinators of the `futures` crates: that
/// has no deadline, tells of events that were dropped and of the connection's
/// end, and then ends.
pub struct Events {
    wanted: Wanted,
    receiver: Receiver<Event>,
}

impl Events {
    /// The next event, waiting for it if none is there.
    ///
    /// # Errors
    /// [`EventError::Timeout`] after 30 s, or the [`timeout`](NextEvent::timeout)
    /// set; [`EventError::Lagged`], [`EventError::Ended`].
    ///
    /// # Cancel safety
    /// No event is lost if the future is dropped.
    #[expect(
        clippy::should_implement_trait,
        reason = "what is next is a future, as in a stream"
    )]
    pub fn next(&mut self) -> NextEvent<'_> {
        NextEvent(self.receiver.next(None, "event".into()))
    }

    /// The next event of this name. Events before it stay for later calls.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    ///
    /// # Cancel safety
    /// No event is lost if the future is dropped.
    pub fn next_named(&mut self, name: &str) -> NextEvent<'_> {
        let wanted = name.to_owned();
        self.next_where(format!("event {}", Quoted(name)), move |event| {
            event.name() == wanted
        })
    }

    /// The next event that one of these patterns means. Events before it stay
    /// for later calls.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    ///
    /// # Cancel safety
    /// No event is lost if the future is dropped.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_qmp::{Client, Wait};
    /// use serde_json::json;
    ///
    /// let qmp = Client::connect_unix("/run/vm/qmp.sock").wait()?;
    /// let mut events = qmp.events();
    /// let data = json!({"device": "drive0"});
    /// let patterns = [("BLOCK_JOB_COMPLETED", data.clone()), ("BLOCK_JOB_ERROR", data)];
    /// println!("{}", events.next_matching(patterns).wait()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_matching<P: Into<EventPattern>>(
        &mut self,
        patterns: impl IntoIterator<Item = P>,
    ) -> NextEvent<'_> {
        let patterns: Vec<EventPattern> = patterns.into_iter().map(Into::into).collect();
        let told: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let expected = format!("event {}", told.join(" or "));
        self.next_where(expected, move |event| {
            patterns.iter().any(|pattern| pattern.matches(event))
        })
    }

    /// The next event that `matches` says is the one; `expected` names it in
    /// errors. Events before it stay for later calls.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    ///
    /// # Cancel safety
    /// No event is lost if the future is dropped.
    pub fn next_where(
        &mut self,
        expected: impl Into<String>,
        matches: impl Fn(&Event) -> bool + Send + 'static,
    ) -> NextEvent<'_> {
        let expected = expected.into().into();
        NextEvent(self.receiver.next(Some(Box::new(matches)), expected))
    }

    /// The next event, if one is there now. What was missed is told by the next
    /// wait.
    pub fn try_next(&mut self) -> Option<Event> {
        self.receiver.try_next()
    }

    /// Every event that is there now; as for [`try_next`](Self::try_next).
    pub fn take_all(&mut self) -> Vec<Event> {
        self.receiver.take_all()
    }

    /// Drops every event that is there now.
    pub fn clear(&mut self) {
        self.receiver.clear();
    }

    /// Keeps a history from now on: events that were taken can be had again.
    /// It has the bounds of the queue, and beyond them forgets the oldest.
    pub fn with_history(self) -> Self {
        self.receiver.keep_history();
        self
    }

    /// Every event that was heard since the history is kept, taken or not, the
    /// oldest first; empty where none is.
    pub fn history(&self) -> Vec<Event> {
        self.receiver.history()
    }

    pub(super) fn new(wanted: Wanted, receiver: Receiver<Event>) -> Self {
        Self { wanted, receiver }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("of", &self.receiver.server())
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}

impl Stream for Events {
    type Item = Result<Event, EventError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_next_or_end(context)
    }
}

/// Waits for an event; made by [`Events`].
#[must_use = "does nothing until awaited or waited for"]
pub struct NextEvent<'a>(Next<'a, Event>);

impl NextEvent<'_> {
    /// Waits no longer than this instead of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = Some(timeout);
        self
    }

    /// Waits as long as the connection lives.
    pub fn no_timeout(mut self) -> Self {
        self.0.timeout = None;
        self
    }
}

impl Future for NextEvent<'_> {
    type Output = Result<Event, EventError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

/// One listener, as the connection's reader has it.
pub(super) struct Listener {
    wanted: Wanted,
    pub(super) queue: Arc<Queue<Event>>,
}

/// The events that one of these means; `None` is all.
pub(super) type Wanted = Option<Arc<[EventPattern]>>;

impl Listener {
    pub(super) fn new(wanted: Wanted, queue: Arc<Queue<Event>>) -> Self {
        Self { wanted, queue }
    }

    /// Whether somebody still listens.
    pub(super) fn push(&self, events: &[Event]) -> bool {
        let waker = match &self.wanted {
            None => self.queue.put_all(events.iter().cloned()),
            Some(wanted) => {
                // Looked at unlocked: a pattern may take long.
                let is_wanted =
                    |event: &&Event| wanted.iter().any(|pattern| pattern.matches(event));
                let events: Vec<Event> = events.iter().filter(is_wanted).cloned().collect();
                if events.is_empty() {
                    None
                } else {
                    self.queue.put_all(events)
                }
            }
        };
        engine::wake_all(waker);
        !self.queue.is_abandoned()
    }
}

impl Queued for Event {
    fn size_bytes(&self) -> usize {
        self.size_bytes()
    }
}
