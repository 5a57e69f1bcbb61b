//! Deadlines for futures that run under any runtime.
//!
//! The engine sleeps until the earliest deadline that it knew of when it went
//! to sleep. A later one only enters the queue, and one that is given up only
//! leaves it: neither wakes the engine. So a command whose reply comes in time
//! costs two moves in a map, and the engine wakes once per stale deadline.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// So much time passed before the future's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed(pub Duration);

/// Waits for `future`, but no longer than `limit`; `None` is without end.
///
/// # Errors
/// The limit passed first; the future is dropped.
pub async fn timeout<F: Future>(limit: Option<Duration>, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    // Too far away to be told is as good as never.
    let deadline = limit.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?)));
    let Some((limit, at)) = deadline else {
        return Ok(future.await);
    };
    let mut timer = Timer { at, key: None };
    poll_fn(|context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        timer.poll(context).map(|()| Err(Elapsed(limit)))
    })
    .await
}

/// Every deadline that somebody waits for.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: Mutex<Queue>,
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    wakers: BTreeMap<Key, Waker>,
    next: u64,
    /// Until when the engine sleeps; `None` is until it is woken.
    asleep_until: Option<Instant>,
}

type Key = (Instant, u64);

impl Timers {
    /// Wakes everyone whose deadline has come, for ever.
    pub(super) async fn run(&self) {
        loop {
            match self.fire(Instant::now()) {
                None => self.earlier.notified().await,
                Some(at) => {
                    // Whichever of the two ends it, the queue is looked at anew.
                    let _ = tokio::time::timeout_at(at.into(), self.earlier.notified()).await;
                }
            }
        }
    }

    /// Wakes whose deadline has come; gives the next one.
    fn fire(&self, now: Instant) -> Option<Instant> {
        let mut queue = self.lock();
        let later = queue.wakers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut queue.wakers, later);
        queue.asleep_until = queue.wakers.first_key_value().map(|(&(at, _), _)| at);
        let next = queue.asleep_until;
        drop(queue);
        for waker in due.into_values() {
            // A waker is its executor's code; this thread must outlive its panic.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| waker.wake()));
        }
        next
    }

    fn insert(&self, at: Instant, waker: Waker) -> Key {
        let mut queue = self.lock();
        let key = (at, queue.next);
        queue.next += 1;
        queue.wakers.insert(key, waker);
        if queue.asleep_until.is_none_or(|until| at < until) {
            queue.asleep_until = Some(at);
            drop(queue);
            self.earlier.notify_one();
        }
        key
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One deadline; leaves the queue when it is dropped.
struct Timer {
    at: Instant,
    key: Option<Key>,
}

impl Timer {
    fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        if Instant::now() >= self.at {
            return Poll::Ready(());
        }
        let timers = &super::started().timers;
        match self.key {
            None => self.key = Some(timers.insert(self.at, context.waker().clone())),
            Some(key) => match timers.lock().wakers.get_mut(&key) {
                Some(waker) => waker.clone_from(context.waker()),
                // It fired between our look at the clock and now.
                None => return Poll::Ready(()),
            },
        }
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            // Dropped unlocked: it may be the last hold on a task with a timer.
            let removed = super::started().timers.lock().wakers.remove(&key);
            drop(removed);
        }
    }
}
