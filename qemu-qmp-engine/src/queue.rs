//! A bounded queue between a reader and one listener.
//!
//! The reader puts items in, and the listener takes them. A listener that lags loses
//! its oldest items and gets their number; other listeners are not affected. A
//! listener takes all items at once, so the two seldom compete for the lock.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::{Deadlines, Elapsed, wake_all};

/// An item of a queue. It must be cheap to clone.
pub trait Queued: Clone {
    /// About how much memory it uses.
    fn size_bytes(&self) -> usize;
}

/// Selects the item to wait for. It is the user's code.
pub type Matches<T> = Box<dyn Fn(&T) -> bool + Send>;

/// The reader's end.
#[derive(Debug)]
pub struct Queue<T, C>(Mutex<State<T, C>>);

#[derive(Debug)]
struct State<T, C> {
    limit_items: usize,
    waiting: Bounded<T>,
    /// `None` if no history is kept.
    history: Option<Bounded<T>>,
    missed: u64,
    ended: Option<C>,
    abandoned: bool,
    waker: Option<Waker>,
}

/// The listener's end. Drop it to stop listening.
#[derive(Debug)]
pub struct Receiver<T, C> {
    queue: Arc<Queue<T, C>>,
    deadlines: Deadlines,
    /// The items that were taken from the queue and not returned yet. They are
    /// older than the items in the queue.
    taken: Bounded<T>,
    /// How many items were lost before those, and not reported yet.
    missed: u64,
    /// The stream has returned its end.
    is_over: bool,
}

/// Why no item came. `C` is the cause of a queue's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoItem<C> {
    /// The deadline passed.
    Timeout(Duration),
    /// This number of items was dropped, because the listener lagged.
    Lagged(u64),
    /// The queue has ended.
    Ended(C),
}

/// The last items, up to the limits.
#[derive(Debug)]
struct Bounded<T> {
    items: VecDeque<T>,
    bytes: usize,
}

impl<T: Queued, C: Clone> Default for Queue<T, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Queued, C: Clone> Queue<T, C> {
    /// An empty queue that holds up to 100,000 items and 16 MiB.
    pub fn new() -> Self {
        Self::with_limit(LIMIT_ITEMS)
    }

    /// An empty queue that holds up to this number of items, and 16 MiB.
    pub fn with_limit(limit_items: usize) -> Self {
        Self(Mutex::new(State {
            limit_items,
            waiting: Bounded::new(),
            history: None,
            missed: 0,
            ended: None,
            abandoned: false,
            waker: None,
        }))
    }

    /// Puts an item in, if the listener exists. Returns the waker to wake: waking
    /// may run its executor's code.
    #[must_use]
    pub fn put(&self, item: T) -> Option<Waker> {
        self.put_all([item])
    }

    /// The same for several items, with one wake-up.
    #[must_use]
    pub fn put_all(&self, items: impl IntoIterator<Item = T>) -> Option<Waker> {
        let mut state = self.lock();
        if state.abandoned {
            return None;
        }
        let limit_items = state.limit_items;
        for item in items {
            if let Some(history) = &mut state.history {
                history.push(item.clone());
                history.trim(limit_items);
            }
            state.waiting.push(item);
        }
        state.missed += state.waiting.trim(limit_items);
        state.waker.take()
    }

    /// Whether the listener was dropped.
    pub fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Ends the queue, for this cause. No more items will come.
    pub fn end(&self, cause: C) {
        let mut state = self.lock();
        state.ended = Some(cause);
        let waker = state.waker.take();
        drop(state);
        wake_all(waker);
    }
}

impl<T, C> Queue<T, C> {
    /// The listener was dropped.
    fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        let dropped = (
            mem::replace(&mut state.waiting, Bounded::new()),
            state.history.take(),
            state.waker.take(),
        );
        drop(state);
        // Not locked: dropping a waker may run its executor's code.
        drop(dropped);
    }

    fn lock(&self) -> MutexGuard<'_, State<T, C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Queued, C: Clone> Receiver<T, C> {
    /// The listener's end of this queue.
    pub fn new(queue: Arc<Queue<T, C>>, deadlines: Deadlines) -> Self {
        Self {
            queue,
            deadlines,
            taken: Bounded::new(),
            missed: 0,
            is_over: false,
        }
    }

    /// How long a wait takes at most, unless it has its own timeout.
    pub fn limit(&self) -> Option<Duration> {
        self.deadlines.limit()
    }

    /// The next item, if it is there now.
    pub fn try_next(&mut self) -> Option<T> {
        self.take_if_none(|_| true);
        self.taken.pop()
    }

    /// All items that are there now.
    pub fn take_all(&mut self) -> Vec<T> {
        let mut all = mem::replace(&mut self.taken, Bounded::new());
        let mut state = self.queue.lock();
        self.missed += mem::take(&mut state.missed);
        all.append(&mut state.waiting);
        drop(state);
        all.items.into()
    }

    /// Drops all items that are there now.
    pub fn clear(&mut self) {
        let mut state = self.queue.lock();
        self.missed = 0;
        state.missed = 0;
        let waiting = mem::replace(&mut state.waiting, Bounded::new());
        drop(state);
        drop(waiting);
        self.taken = Bounded::new();
    }

    /// Keeps a history from now on.
    pub fn keep_history(&self) {
        let mut state = self.queue.lock();
        state.history.get_or_insert_with(Bounded::new);
    }

    /// The items of the history, oldest first.
    pub fn history(&self) -> Vec<T> {
        let state = self.queue.lock();
        let history = state.history.iter();
        history
            .flat_map(|kept| kept.items.iter().cloned())
            .collect()
    }

    /// The next item that matches, or any item without `matches`. Items before
    /// it stay.
    pub fn next(&mut self, matches: Option<Matches<T>>) -> Next<'_, T, C> {
        Next {
            timeout: self.deadlines.limit(),
            request: Some(Request {
                receiver: self,
                matches,
            }),
            waiting: None,
        }
    }

    /// As a stream: the end comes once, and then `None`.
    pub fn poll_next_or_end(
        &mut self,
        context: &Context<'_>,
    ) -> Poll<Option<Result<T, NoItem<C>>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.poll_next(context, None, &mut 0).map(|next| {
            self.is_over = matches!(next, Err(NoItem::Ended(_)));
            Some(next)
        })
    }

    /// The oldest item, if it is there and no item before it was lost.
    fn first(&mut self) -> Option<T> {
        if self.missed > 0 {
            return None;
        }
        self.take_if_none(|state| state.missed == 0);
        self.taken.pop()
    }

    fn take_if_none(&mut self, may: impl FnOnce(&State<T, C>) -> bool) {
        if self.taken.items.is_empty() {
            let mut state = self.queue.lock();
            if may(&state) {
                self.missed += mem::take(&mut state.missed);
                self.taken.append(&mut state.waiting);
            }
        }
    }

    /// Searches the items that were not searched yet for a match. The user's code
    /// runs without the lock: the reader waits for the lock, and with it every
    /// machine.
    fn poll_next(
        &mut self,
        context: &Context<'_>,
        matches: Option<&(dyn Fn(&T) -> bool + Send)>,
        searched: &mut usize,
    ) -> Poll<Result<T, NoItem<C>>> {
        if self.missed > 0 {
            let missed = mem::take(&mut self.missed);
            return Poll::Ready(Err(NoItem::Lagged(missed)));
        }
        for is_first in [true, false] {
            let found = match matches {
                Some(matches) => self.taken.take(*searched, matches),
                None => self.taken.pop(),
            };
            if let Some(item) = found {
                return Poll::Ready(Ok(item));
            }
            *searched = self.taken.items.len();
            if is_first && !self.take_more(context)? {
                return Poll::Pending;
            }
        }
        // More items may have come. It is polled again for them, after the deadline
        // was checked.
        wake_all([context.waker().clone()]);
        Poll::Pending
    }

    /// Takes the new items. If there are none, the waker will be woken for the
    /// next item.
    fn take_more(&mut self, context: &Context<'_>) -> Result<bool, NoItem<C>> {
        let mut state = self.queue.lock();
        if state.missed > 0 {
            let missed = mem::take(&mut state.missed);
            drop(state);
            return Err(NoItem::Lagged(missed));
        }
        if !state.waiting.items.is_empty() {
            self.taken.append(&mut state.waiting);
            let limit_items = state.limit_items;
            drop(state);
            // The items that were searched and stay count for the limit too.
            return match self.taken.trim(limit_items) {
                0 => Ok(true),
                missed => Err(NoItem::Lagged(missed)),
            };
        }
        if let Some(cause) = state.ended.clone() {
            drop(state);
            return Err(NoItem::Ended(cause));
        }
        let replaced = state.waker.replace(context.waker().clone());
        drop(state);
        // Dropped without the lock: it may own the last reference to a task
        // that owns the last client.
        drop(replaced);
        Ok(false)
    }
}

impl<T, C> Drop for Receiver<T, C> {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

/// Waits for an item; made by [`Receiver::next`].
pub struct Next<'a, T: Queued, C: Clone> {
    /// `None` waits until the queue ends.
    pub timeout: Option<Duration>,
    /// `None` once it has had to wait.
    request: Option<Request<'a, T, C>>,
    waiting: Option<Waiting<'a, T, C>>,
}

struct Request<'a, T: Queued, C: Clone> {
    receiver: &'a mut Receiver<T, C>,
    /// `None` matches any item.
    matches: Option<Matches<T>>,
}

type Waiting<'a, T, C> = Pin<Box<dyn Future<Output = Result<T, NoItem<C>>> + Send + 'a>>;

impl<T: Queued + Send, C: Clone + Send> Future for Next<'_, T, C> {
    type Output = Result<T, NoItem<C>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // An item that is there needs no clock, waker or allocation.
        if let Some(request) = &mut this.request
            && request.matches.is_none()
            && let Some(item) = request.receiver.first()
        {
            return Poll::Ready(Ok(item));
        }
        if let Some(request) = this.request.take() {
            this.waiting = Some(Box::pin(request.wait(this.timeout)));
        }
        let waiting = this.waiting.as_mut();
        waiting.map_or(Poll::Pending, |waiting| waiting.as_mut().poll(context))
    }
}

impl<T: Queued, C: Clone> Request<'_, T, C> {
    async fn wait(self, timeout: Option<Duration>) -> Result<T, NoItem<C>> {
        let Self { receiver, matches } = self;
        let deadlines = receiver.deadlines.clone();
        let mut searched = 0;
        let next =
            poll_fn(move |context| receiver.poll_next(context, matches.as_deref(), &mut searched));
        match deadlines.timeout(timeout, next).await {
            Ok(outcome) => outcome,
            Err(Elapsed(limit)) => Err(NoItem::Timeout(limit)),
        }
    }
}

impl<T> Bounded<T> {
    fn new() -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<T: Queued> Bounded<T> {
    fn push(&mut self, item: T) {
        self.bytes += item.size_bytes();
        self.items.push_back(item);
    }

    fn append(&mut self, newer: &mut Self) {
        if self.items.is_empty() {
            mem::swap(self, newer);
        } else {
            self.bytes += mem::take(&mut newer.bytes);
            self.items.append(&mut newer.items);
        }
    }

    fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.bytes -= item.size_bytes();
        Some(item)
    }

    /// The first match after the first `skipped` items.
    fn take(&mut self, skipped: usize, matches: &dyn Fn(&T) -> bool) -> Option<T> {
        let index = skipped + self.items.iter().skip(skipped).position(matches)?;
        let item = self.items.remove(index)?;
        self.bytes -= item.size_bytes();
        Some(item)
    }

    /// Drops the oldest items over the limit, and returns their number.
    fn trim(&mut self, limit_items: usize) -> u64 {
        let mut dropped = 0;
        while self.items.len() > limit_items || self.bytes > LIMIT_BYTES {
            if self.pop().is_none() {
                break;
            }
            dropped += 1;
        }
        dropped
    }
}

/// The most items that a queue keeps.
const LIMIT_ITEMS: usize = 100_000;
/// The most memory that a queue's items use, in bytes.
const LIMIT_BYTES: usize = 16 << 20;
