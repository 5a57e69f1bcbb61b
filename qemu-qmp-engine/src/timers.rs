//! Timers for futures that run under any runtime.
//!
//! One alarm is set for the earliest deadline. A later deadline only enters the
//! queue, and a dropped one only leaves it: neither sets the alarm. So a command
//! whose reply comes in time costs two changes of a map. The engine wakes up once
//! for a stale alarm, and then sets the next.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::watch::Alarm;

/// The time limit that passed before the future ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed(pub Duration);

/// Waits for `future`, at most for `limit`; `None` is no limit.
///
/// # Errors
/// The limit passed first. The future is dropped.
pub fn timeout<F: Future>(
    limit: Option<Duration>,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    unless(Timer::new(limit), future)
}

/// Waits for this time.
pub async fn pause(time: Duration) {
    Timer::new(Some(time)).await;
}

/// Waits before an operation is tried again for which the system had no descriptor,
/// memory or watch. Nothing reports when one is free.
pub(crate) async fn until_a_shortage_may_be_over() {
    pause(SHORTAGE).await;
}

const SHORTAGE: Duration = Duration::from_millis(10);

/// Waits for `future`, unless `elapsed` ends first. Only this is compiled for every
/// type of future, and not the timers.
pub(crate) async fn unless<F: Future>(
    elapsed: impl Future<Output = Elapsed>,
    future: F,
) -> Result<F::Output, Elapsed> {
    let (mut elapsed, mut future) = (pin!(elapsed), pin!(future));
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending => elapsed.as_mut().poll(context).map(Err),
    })
    .await
}

/// Every deadline with a waiter.
#[derive(Debug)]
pub(crate) struct Timers {
    queue: Mutex<Queue>,
    alarm: Alarm,
}

#[derive(Debug, Default)]
struct Queue {
    wakers: BTreeMap<Key, Waker>,
    next: u64,
    /// The time for which the alarm is set; `None` is never.
    alarm_at: Option<Instant>,
}

type Key = (Instant, u64);

impl Timers {
    /// Call it within the engine's runtime.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            alarm: Alarm::new()?,
        })
    }

    /// Wakes the waiters whose deadline has passed. Never ends.
    pub(crate) async fn run(&self) {
        loop {
            self.alarm.rings().await;
            self.fire(Instant::now());
        }
    }

    /// Wakes the waiters whose deadline has passed, and sets the alarm for the next
    /// deadline.
    fn fire(&self, now: Instant) {
        let mut queue = lock(&self.queue);
        let later = queue.wakers.split_off(&(now, u64::MAX));
        let due = std::mem::replace(&mut queue.wakers, later);
        let next = queue.wakers.first_key_value().map(|(&(at, _), _)| at);
        queue.set(&self.alarm, next);
        drop(queue);
        crate::wake_all(due.into_values());
    }

    fn insert(&self, at: Instant, waker: Waker) -> Key {
        let mut queue = lock(&self.queue);
        let key = (at, queue.next);
        queue.next += 1;
        queue.wakers.insert(key, waker);
        if queue.alarm_at.is_none_or(|alarm_at| at < alarm_at) {
            queue.set(&self.alarm, Some(at));
        }
        key
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    /// The queue is locked, so `alarm_at` is always the alarm's last setting.
    fn set(&mut self, alarm: &Alarm, at: Option<Instant>) {
        self.alarm_at = at;
        alarm.set(at.map(|at| at.saturating_duration_since(Instant::now())));
    }
}

/// One deadline. It leaves the queue when it is dropped.
pub(crate) struct Timer {
    /// The time limit and its end; `None` is no limit.
    deadline: Option<(Duration, Instant)>,
    entered: Option<(&'static Mutex<Queue>, Key)>,
}

impl Timer {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        // A time beyond the clock's range never comes.
        let deadline = limit.and_then(|limit| Some((limit, Instant::now().checked_add(limit)?)));
        Self {
            deadline,
            entered: None,
        }
    }
}

impl Future for Timer {
    type Output = Elapsed;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Elapsed> {
        let Some((limit, at)) = self.deadline else {
            return Poll::Pending;
        };
        if Instant::now() >= at {
            return Poll::Ready(Elapsed(limit));
        }
        let waker = context.waker().clone();
        let Some((queue, key)) = self.entered else {
            let timers = crate::engine::started().timers();
            self.entered = Some((&timers.queue, timers.insert(at, waker)));
            return Poll::Pending;
        };
        let mut queue = lock(queue);
        let Some(entry) = queue.wakers.get_mut(&key) else {
            // It fired after the clock was read above.
            return Poll::Ready(Elapsed(limit));
        };
        let replaced = std::mem::replace(entry, waker);
        // Dropped without the lock: it may own the last reference to a task that
        // has a timer.
        drop(queue);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        if let Some((queue, key)) = self.entered {
            let removed = lock(queue).wakers.remove(&key);
            // As above.
            drop(removed);
        }
    }
}
