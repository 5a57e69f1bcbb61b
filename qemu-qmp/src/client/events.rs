//! Listeners: who hears which events, and when.
//!
//! Each listener has its own bounded queue. One that lags loses its oldest
//! events and is told how many; it costs the others nothing.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Disconnected, EventError, EventPattern, Witness};
use crate::Deadlines;
use crate::engine::Elapsed;
use crate::wire::Event;

/// A listener: hears every event from when it was made, in order.
///
/// Make it before the command whose events it shall hear; then none is
/// missed, however soon they come. Drop it to stop listening.
pub struct Events {
    queue: Arc<Queue>,
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
        self.next_where("event".to_owned(), |_| true)
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
        self.next_where(format!("event '{name}'"), move |event| {
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
        let timeout = self.queue.deadlines.limit();
        NextEvent {
            events: self,
            expected: expected.into(),
            matches: Box::new(matches),
            timeout,
        }
    }

    /// The next event, if one is there now.
    pub fn try_next(&mut self) -> Option<Event> {
        let mut state = self.queue.lock();
        let event = state.events.pop_front()?;
        state.bytes -= event.size_bytes();
        Some(event)
    }

    /// Every event that is there now.
    pub fn take_all(&mut self) -> Vec<Event> {
        let mut state = self.queue.lock();
        state.bytes = 0;
        std::mem::take(&mut state.events).into()
    }

    /// Drops every event that is there now.
    pub fn clear(&mut self) {
        let mut state = self.queue.lock();
        (state.events, state.bytes, state.missed) = (VecDeque::new(), 0, 0);
    }

    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("of", &self.queue.witness.name())
            .field("wanted", &self.queue.wanted)
            .finish_non_exhaustive()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.clear();
        self.queue.lock().abandoned = true;
    }
}

/// Waits for an event; made by [`Events`].
#[must_use = "does nothing until awaited or waited for"]
pub struct NextEvent<'a> {
    events: &'a mut Events,
    expected: String,
    matches: Box<dyn Fn(&Event) -> bool + Send>,
    timeout: Option<Duration>,
}

impl NextEvent<'_> {
    /// Waits no longer than this instead of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits as long as the connection lives.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }
}

impl<'a> IntoFuture for NextEvent<'a> {
    type Output = Result<Event, EventError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self {
                events,
                expected,
                matches,
                timeout,
            } = self;
            let queue = &events.queue;
            let next = poll_fn(move |context| queue.poll_next(context, &matches));
            queue
                .deadlines
                .timeout(timeout, next)
                .await
                .unwrap_or_else(|Elapsed(limit)| {
                    Err(EventError::Timeout {
                        server: queue.witness.name(),
                        expected,
                        limit,
                        seen: queue.witness.seen(),
                    })
                })
        })
    }
}

/// One listener's events, written by the connection's reader.
pub(super) struct Queue {
    wanted: Option<Vec<EventPattern>>,
    limit: QueueLimit,
    deadlines: Deadlines,
    witness: Arc<dyn Witness>,
    state: Mutex<State>,
}

/// The most that an unread listener holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueLimit {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    bytes: usize,
    missed: u64,
    ended: Option<Disconnected>,
    abandoned: bool,
    waker: Option<Waker>,
}

impl Queue {
    /// A queue for the events that one of these means; `None` is all.
    pub(super) fn new(
        wanted: Option<Vec<EventPattern>>,
        limit: QueueLimit,
        deadlines: Deadlines,
        witness: Arc<dyn Witness>,
    ) -> Self {
        Self {
            wanted,
            limit,
            deadlines,
            witness,
            state: Mutex::default(),
        }
    }

    /// Whether somebody still listens.
    pub(super) fn push(&self, event: &Event) -> bool {
        if let Some(wanted) = &self.wanted
            && !wanted.iter().any(|pattern| pattern.matches(event))
        {
            return !self.is_abandoned();
        }
        let mut state = self.lock();
        if state.abandoned {
            return false;
        }
        state.bytes += event.size_bytes();
        state.events.push_back(event.clone());
        state.trim(self.limit);
        wake(state);
        true
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    pub(super) fn end(&self, cause: Disconnected) {
        let mut state = self.lock();
        state.ended = Some(cause);
        wake(state);
    }

    /// Looks for an event that matches. The user's code that decides it runs
    /// unlocked: the reader, and thus every machine, waits for the lock.
    fn poll_next(
        &self,
        context: &Context<'_>,
        matches: &dyn Fn(&Event) -> bool,
    ) -> Poll<Result<Event, EventError>> {
        let mut state = self.lock();
        if state.missed > 0 {
            let missed = std::mem::take(&mut state.missed);
            drop(state);
            return Poll::Ready(Err(EventError::Lagged {
                server: self.witness.name(),
                missed,
            }));
        }
        // Before the look, so that what comes meanwhile makes for another.
        let replaced = state.waker.replace(context.waker().clone());
        let mut taken = Taken {
            queue: self,
            events: std::mem::take(&mut state.events),
            bytes: std::mem::take(&mut state.bytes),
        };
        drop(state);
        // Unlocked: it may be the last hold on a task with the last client.
        drop(replaced);
        let found = taken.take(matches);
        drop(taken);
        if let Some(event) = found {
            return Poll::Ready(Ok(event));
        }
        let state = self.lock();
        match &state.ended {
            // What came last, and while we looked, is looked at first.
            Some(cause) if state.waker.is_some() => Poll::Ready(Err(EventError::Ended {
                server: self.witness.name(),
                cause: cause.clone(),
            })),
            _ => Poll::Pending,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops the oldest events that are over the limit.
    fn trim(&mut self, limit: QueueLimit) {
        while self.events.len() > limit.events || self.bytes > limit.bytes {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= oldest.size_bytes();
            self.missed += 1;
        }
    }
}

/// The events that are being looked at; put back before those that came
/// meanwhile, however the look ends.
struct Taken<'a> {
    queue: &'a Queue,
    events: VecDeque<Event>,
    bytes: usize,
}

impl Taken<'_> {
    fn take(&mut self, matches: &dyn Fn(&Event) -> bool) -> Option<Event> {
        let index = self.events.iter().position(matches)?;
        let event = self.events.remove(index)?;
        self.bytes -= event.size_bytes();
        Some(event)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        self.events.append(&mut state.events);
        state.events = std::mem::take(&mut self.events);
        state.bytes += self.bytes;
        state.trim(self.queue.limit);
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    waker.into_iter().for_each(Waker::wake);
}
