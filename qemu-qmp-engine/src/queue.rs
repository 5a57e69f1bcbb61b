//! A bounded queue between a reader and one listener.
//!
//! A listener that lags loses its oldest items, and is notified how many; that
//! costs the other listeners nothing. A listener takes all that is there at
//! once, so the two seldom meet at the lock.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::{Deadlines, Elapsed, wake_all};

/// What is queued: a clone is a cheap handle.
pub trait Queued: Clone {
    /// How much memory it takes, roughly.
    fn size_bytes(&self) -> usize;
}

/// Chooses the item that is waited for: the user's code.
pub type Matches<T> = Box<dyn Fn(&T) -> bool + Send>;

/// The reader's end.
#[derive(Debug)]
pub struct Queue<T, C>(Mutex<State<T, C>>);

#[derive(Debug)]
struct State<T, C> {
    limit_items: usize,
    waiting: Bounded<T>,
    /// Where it is kept.
    history: Option<Bounded<T>>,
    missed: u64,
    ended: Option<C>,
    abandoned: bool,
    waker: Option<Waker>,
}

/// The listener's end. Dropping it stops the listening.
#[derive(Debug)]
pub struct Receiver<T, C> {
    queue: Arc<Queue<T, C>>,
    deadlines: Deadlines,
    /// What was taken from the queue and is not handed out yet: older than all
    /// that is there.
    taken: Bounded<T>,
    /// How many were lost before what was taken, which is not told yet.
    missed: u64,
    /// A stream has told its end.
    is_over: bool,
}

/// Why no item came. `C` is why a queue ended.
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

    /// Puts one in, if somebody still listens. Gives whom to wake: that may run
    /// code of theirs.
    #[must_use]
    pub fn put(&self, item: T) -> Option<Waker> {
        self.put_all([item])
    }

    /// The same with several, which is one word to who waits.
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

    pub fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Nothing more will come.
    pub fn end(&self, cause: C) {
        let mut state = self.lock();
        state.ended = Some(cause);
        let waker = state.waker.take();
        drop(state);
        wake_all(waker);
    }
}

impl<T, C> Queue<T, C> {
    /// Nobody listens any more.
    fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        let dropped = (
            mem::replace(&mut state.waiting, Bounded::new()),
            state.history.take(),
            state.waker.take(),
        );
        drop(state);
        // Unlocked: a waker is its executor's code.
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

    pub fn try_next(&mut self) -> Option<T> {
        self.take_if_none(|_| true);
        self.taken.pop()
    }

    pub fn take_all(&mut self) -> Vec<T> {
        let mut all = mem::replace(&mut self.taken, Bounded::new());
        let mut state = self.queue.lock();
        self.missed += mem::take(&mut state.missed);
        all.append(&mut state.waiting);
        drop(state);
        all.items.into()
    }

    pub fn clear(&mut self) {
        let mut state = self.queue.lock();
        self.missed = 0;
        state.missed = 0;
        let waiting = mem::replace(&mut state.waiting, Bounded::new());
        drop(state);
        drop(waiting);
        self.taken = Bounded::new();
    }

    pub fn keep_history(&self) {
        let mut state = self.queue.lock();
        state.history.get_or_insert_with(Bounded::new);
    }

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
            asked: Some(Asked {
                receiver: self,
                matches,
            }),
            waits: None,
        }
    }

    /// As a stream: the end comes once, and after it nothing.
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

    /// The oldest, if it is there and nothing before it was missed.
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

    /// Looks for one that matches, among those that were not looked at. The
    /// user's code that decides it runs unlocked: the reader, and thus every
    /// machine, waits for the lock.
    fn poll_next(
        &mut self,
        context: &Context<'_>,
        matches: Option<&(dyn Fn(&T) -> bool + Send)>,
        looked_at: &mut usize,
    ) -> Poll<Result<T, NoItem<C>>> {
        if self.missed > 0 {
            let missed = mem::take(&mut self.missed);
            return Poll::Ready(Err(NoItem::Lagged(missed)));
        }
        for is_first in [true, false] {
            let found = match matches {
                Some(matches) => self.taken.take(*looked_at, matches),
                None => self.taken.pop(),
            };
            if let Some(item) = found {
                return Poll::Ready(Ok(item));
            }
            *looked_at = self.taken.items.len();
            if is_first && !self.take_more(context)? {
                return Poll::Pending;
            }
        }
        // More may have come meanwhile. A deadline has its turn before that.
        wake_all([context.waker().clone()]);
        Poll::Pending
    }

    /// Takes what has come; if there is none, the waker hears of the next.
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
            // Those that were looked at and stay count, too.
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
        // Unlocked: it may be the last hold on a task with the last client.
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
    /// Until it has to wait.
    asked: Option<Asked<'a, T, C>>,
    waits: Option<Waiting<'a, T, C>>,
}

struct Asked<'a, T: Queued, C: Clone> {
    receiver: &'a mut Receiver<T, C>,
    /// `None` is any.
    matches: Option<Matches<T>>,
}

type Waiting<'a, T, C> = Pin<Box<dyn Future<Output = Result<T, NoItem<C>>> + Send + 'a>>;

impl<T: Queued + Send, C: Clone + Send> Future for Next<'_, T, C> {
    type Output = Result<T, NoItem<C>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // What is there needs neither a clock, a waker nor memory.
        if let Some(asked) = &mut this.asked
            && asked.matches.is_none()
            && let Some(item) = asked.receiver.first()
        {
            return Poll::Ready(Ok(item));
        }
        if let Some(asked) = this.asked.take() {
            this.waits = Some(Box::pin(asked.wait(this.timeout)));
        }
        let waits = this.waits.as_mut();
        waits.map_or(Poll::Pending, |waits| waits.as_mut().poll(context))
    }
}

impl<T: Queued, C: Clone> Asked<'_, T, C> {
    async fn wait(self, timeout: Option<Duration>) -> Result<T, NoItem<C>> {
        let Self { receiver, matches } = self;
        let deadlines = receiver.deadlines.clone();
        let mut looked_at = 0;
        let next =
            poll_fn(move |context| receiver.poll_next(context, matches.as_deref(), &mut looked_at));
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

    /// The first that matches, but none of the first so many.
    fn take(&mut self, but: usize, matches: &dyn Fn(&T) -> bool) -> Option<T> {
        let index = but + self.items.iter().skip(but).position(matches)?;
        let item = self.items.remove(index)?;
        self.bytes -= item.size_bytes();
        Some(item)
    }

    /// Drops the oldest that are over the limit, and gives how many.
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

/// The most that a queue holds that nobody reads.
const LIMIT_ITEMS: usize = 100_000;
const LIMIT_BYTES: usize = 16 << 20;
