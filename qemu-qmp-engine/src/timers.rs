//! Deadlines for futures that run under any runtime.
//!
//! One alarm is set for the earliest deadline there is. A later one only enters
//! the queue, and one that is given up only leaves it: neither touches the
//! alarm. So a command whose reply comes in time costs two moves in a map, and
//! the engine wakes once for a stale alarm, which it then sets anew.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::watch::Alarm;

/// So much time passed before the future's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed(pub Duration);

/// Waits for `future`, but no longer than `limit`; `None` is without end.
///
/// # Errors
/// The limit passed first; the future is dropped.
pub fn timeout<F: Future>(
    limit: Option<Duration>,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    unless(Timer::new(limit), future)
}

/// Lets some time pass, where there is nothing else to wait for.
pub async fn pause(time: Duration) {
    Timer::new(Some(time)).await;
}

/// Waits before what the system had no descriptor, memory or watch for is tried
/// again: nothing tells when there is one.
pub(crate) async fn until_a_shortage_may_be_over() {
    pause(SHORTAGE).await;
}

const SHORTAGE: Duration = Duration::from_millis(10);

/// Waits for `future`, unless `elapsed` comes first. What is compiled anew for
/// every future is this alone, and not how time is told.
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

/// Every deadline that somebody waits for.
#[derive(Debug)]
pub(crate) struct Timers {
    queue: Mutex<Queue>,
    alarm: Alarm,
}

#[derive(Debug, Default)]
struct Queue {
    wakers: BTreeMap<Key, Waker>,
    next: u64,
    /// For when the alarm is set; `None` is never.
    alarm_at: Option<Instant>,
}

type Key = (Instant, u64);

impl Timers {
    /// To be called within the engine's runtime.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            queue: Mutex::default(),
            alarm: Alarm::new()?,
        })
    }

    /// Wakes everyone whose deadline has come, for ever.
    pub(crate) async fn run(&self) {
        loop {
            self.alarm.rings().await;
            self.fire(Instant::now());
        }
    }

    /// Wakes whose deadline has come, and sets the alarm for the next one.
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
    /// Locked, so that what is set last is what is known here.
    fn set(&mut self, alarm: &Alarm, at: Option<Instant>) {
        self.alarm_at = at;
        alarm.set(at.map(|at| at.saturating_duration_since(Instant::now())));
    }
}

/// One deadline; leaves the queue when it is dropped.
pub(crate) struct Timer {
    /// How long in all, and until when; `None` is for ever.
    deadline: Option<(Duration, Instant)>,
    entered: Option<(&'static Mutex<Queue>, Key)>,
}

impl Timer {
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        // Too far away to be told is as good as never.
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
            // It fired between our look at the clock and now.
            return Poll::Ready(Elapsed(limit));
        };
        let replaced = std::mem::replace(entry, waker);
        // Dropped unlocked: it may be the last hold on a task with a timer.
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
