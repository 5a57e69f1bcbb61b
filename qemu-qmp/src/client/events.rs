//! Events: which listener receives which, and when.

use std::sync::Arc;

use qemu_qmp_engine as engine;
use qemu_qmp_engine::error_text::Quoted;
use qemu_qmp_engine::queue::{Queue, Queued};

use super::{EventPattern, NextItem, Subscription};
use crate::Disconnected;
use crate::wire::Event;

/// Receives the events of a server, from the moment it was made, in order.
pub type Events = Subscription<Event>;

/// Waits for an event; made by [`Events`].
pub type NextEvent<'a> = NextItem<'a, Event>;

impl Events {
    /// Waits for the next event of this name. Events before it stay for later
    /// calls.
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

/// The reader's end of one listener's queue.
pub(super) struct Listener {
    /// The events that one of these matches; `None` is all.
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
                // Unlocked: a pattern may take long.
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
