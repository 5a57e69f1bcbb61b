//! Listening to events: by name, by pattern, or as a type.

use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use qemu_qmp_engine as engine;
use qemu_qmp_engine::error_text::Quoted;
use qemu_qmp_engine::queue::{Queue, Queued};
use qemu_qmp_engine::timeout_option;

use super::{EventError, EventPattern, NextItem, Subscription};
use crate::Disconnected;
use crate::wire::{Event, TypedEvent};

/// Receives the events of a server in order, from the moment it was made.
pub type Events = Subscription<Event>;

/// Waits for an event; made by [`Events`].
pub type NextEvent<'a> = NextItem<'a, Event>;

/// Waits for an event of one type; made by [`Events::next_typed`].
#[must_use = "does nothing until awaited or waited for"]
pub struct NextTyped<'a, E> {
    next: NextEvent<'a>,
    event: PhantomData<fn() -> E>,
}

timeout_option!({E} NextTyped<'_, E>, next.next.timeout);

impl Events {
    /// Waits for the next event with this name. Events before it stay for later
    /// calls.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    ///
    /// # Cancel safety
    /// No event is lost if the future is dropped.
    pub fn next_named(&mut self, name: &str) -> NextEvent<'_> {
        let wanted = name.to_owned();
        self.next_where(expected(name), move |event| event.name() == wanted)
    }

    /// Waits for the next event of this type. Events before it stay for later
    /// calls.
    ///
    /// # Errors
    /// As for [`next`](Self::next); and [`EventError::Shape`] if the event's
    /// data does not fit the type. That event is taken.
    ///
    /// # Cancel safety
    /// No event is lost if the future is dropped.
    pub fn next_typed<E: TypedEvent>(&mut self) -> NextTyped<'_, E> {
        NextTyped {
            next: self.next_named(E::NAME),
            event: PhantomData,
        }
    }

    /// Waits for the next event that one of these patterns matches. Events
    /// before it stay for later calls.
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
        let names: Vec<String> = patterns.iter().map(ToString::to_string).collect();
        let expected = format!("event {}", names.join(" or "));
        self.next_where(expected, move |event| {
            patterns.iter().any(|pattern| pattern.matches(event))
        })
    }
}

impl<E: TypedEvent> Future for NextTyped<'_, E> {
    type Output = Result<E, EventError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let event = ready!(Pin::new(&mut self.next).poll(context))?;
        Poll::Ready(event.data().map_err(|cause| EventError::Shape {
            server: self.next.server(),
            expected: expected(E::NAME),
            cause: Arc::new(cause),
            event: Box::new(event),
        }))
    }
}

fn expected(name: &str) -> String {
    format!("event {}", Quoted(name))
}

/// The reader's end of one listener's queue.
pub(super) struct Listener {
    /// The patterns of the wanted events; `None` is all events.
    wanted: Option<Vec<EventPattern>>,
    pub(super) queue: Arc<Queue<Event, Disconnected>>,
}

impl Listener {
    pub(super) fn new(
        wanted: Option<Vec<EventPattern>>,
        queue: Arc<Queue<Event, Disconnected>>,
    ) -> Self {
        Self { wanted, queue }
    }

    /// Queues these events. `false` if the listener was dropped.
    pub(super) fn push(&self, events: &[Event]) -> bool {
        let waker = match &self.wanted {
            None => self.queue.put_all(events.iter().cloned()),
            Some(wanted) => {
                // The queue is not locked: a pattern may take long.
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
