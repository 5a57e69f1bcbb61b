//! What callers and the reader of a connection share.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qemu_qmp_engine::queue::{Queue, Queued};
use qemu_qmp_engine::{NotSent, Stream, TurnLock, Watched, oneshot};
use serde_json::value::RawValue;

use super::tap::Taps;
use super::{EventPattern, Events, ExecuteFailure, Subscription, events, reader};
use crate::Deadlines;
use crate::Disconnected;
use crate::reader::{PeerContext, PendingNotices};
use crate::wire::{Connection, ErrorReply, Greeting, Id, IdInFlight, Line};

/// The state that callers and the reader share.
pub(super) struct Shared {
    pub(super) stream: Stream,
    pub(super) reader: Mutex<reader::ReadState>,
    pub(super) state: Mutex<State>,
    pub(super) greeting: std::sync::OnceLock<Greeting>,
    pub(super) deadlines: Deadlines,
    pub(super) context: Arc<dyn PeerContext>,
    pub(super) taps: Taps,
    /// Whether every waiter has been notified of the end.
    pub(super) is_notified: Arc<Watched<bool>>,
    /// Locked by a command that passes descriptors.
    pub(super) passing: TurnLock<()>,
}

pub(super) struct State {
    pub(super) connection: Connection<Waiter>,
    pub(super) listeners: Vec<Arc<events::Listener>>,
    pub(super) ended: Option<Disconnected>,
}

/// How many commands may have no reply yet, including those whose caller has
/// given up.
pub(super) const IN_FLIGHT_LIMIT: usize = 100_000;

pub(super) type Waiter = oneshot::Sender<Result<Reply, Disconnected>>;
pub(super) type Reply = Result<Box<RawValue>, ErrorReply>;

impl Shared {
    /// Enters a command into the table. Its bytes must be sent next.
    pub(super) fn submit(
        &self,
        id: Option<String>,
        line: Line,
        waiter: Waiter,
    ) -> Result<(Id, Vec<u8>), ExecuteFailure> {
        let mut state = self.lock();
        if let Some(cause) = &state.ended {
            return Err(ExecuteFailure::Interrupted {
                cause: cause.clone(),
            });
        }
        if state.connection.in_flight() >= IN_FLIGHT_LIMIT {
            return Err(ExecuteFailure::Congested);
        }
        let Some(id) = id else {
            return Ok(state.connection.submit(line, waiter));
        };
        match state.connection.submit_as(&id, line, waiter) {
            Ok(bytes) => Ok((Id::Chosen(id), bytes)),
            Err(IdInFlight) => Err(ExecuteFailure::IdInFlight { id }),
        }
    }

    /// Sends a line, and shows it to the taps.
    pub(super) fn send(&self, line: &[u8]) -> Result<(), NotSent> {
        self.show_and_send(line, || self.stream.send(line).map(drop))
    }

    /// Sends a line with descriptors, and shows it to the taps.
    pub(super) fn send_with(
        &self,
        line: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), NotSent> {
        self.show_and_send(line, || self.stream.send_with(line, descriptors))
    }

    pub(super) fn show_and_send(
        &self,
        line: &[u8],
        send: impl FnOnce() -> Result<(), NotSent>,
    ) -> Result<(), NotSent> {
        if self.taps.exist() {
            self.taps.show_sent(line, send)
        } else {
            send()
        }
    }

    pub(super) fn subscription<T: Queued>(
        &self,
        what: &'static str,
        queue: Arc<Queue<T, Disconnected>>,
    ) -> Subscription<T> {
        let (deadlines, context) = (self.deadlines.clone(), Arc::clone(&self.context));
        Subscription::new(what, queue, deadlines, context)
    }

    pub(super) fn listen(&self, wanted: Option<Vec<EventPattern>>) -> Events {
        let queue = Arc::new(Queue::new());
        let mut state = self.lock();
        if let Some(cause) = &state.ended {
            queue.end(cause.clone());
        } else {
            let listener = events::Listener::new(wanted, Arc::clone(&queue));
            let listeners = &mut state.listeners;
            listeners.retain(|listener| !listener.queue.is_abandoned());
            listeners.push(Arc::new(listener));
        }
        drop(state);
        self.subscription("event", queue)
    }

    /// Ends the connection. Only the first cause counts. The notices own
    /// nothing of the connection.
    pub(super) fn end(&self, cause: &Disconnected) -> PendingNotices {
        let mut state = self.lock();
        if state.ended.is_some() {
            return PendingNotices::default();
        }
        state.ended = Some(cause.clone());
        let waiters: Vec<Waiter> = state.connection.take_waiters().into_iter().collect();
        let listeners = std::mem::take(&mut state.listeners);
        let taps = self.taps.end();
        let (cause, is_notified) = (cause.clone(), Arc::clone(&self.is_notified));
        drop(state);
        PendingNotices::new(move || {
            for waiter in waiters {
                // A caller that has given up needs no notice.
                let _ = waiter.send(Err(cause.clone()));
            }
            for listener in listeners {
                listener.queue.end(cause.clone());
            }
            for tap in taps {
                tap.end(cause.clone());
            }
            is_notified.set(true);
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
