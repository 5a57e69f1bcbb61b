//! A bounded queue between the connection's reader and one who listens.
//!
//! One that lags loses its oldest and is told how many; it costs the others
//! nothing. Who listens takes all that is there at once, so the two seldom meet
//! at the lock, and looks at it in its own time.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Disconnected, EventError, Witness};
use crate::Deadlines;
use crate::engine::{self, Elapsed};

/// What is queued: a clone is a cheap handle.
pub(super) trait Queued: Clone {
    /// How much memory it takes, roughly.
    fn size_bytes(&self) -> usize;
}

/// Which one is waited for: code of the user's.
pub(super) type Matches<T> = Box<dyn Fn(&T) -> bool + Send>;

/// The reader's end.
pub(super) struct Queue<T>(Mutex<State<T>>);

struct State<T> {
    waiting: Bounded<T>,
    /// Where it is kept.
    history: Option<Bounded<T>>,
    missed: u64,
    ended: Option<Disconnected>,
    abandoned: bool,
    waker: Option<Waker>,
}

/// The end of who listens. Nobody does when it is dropped.
pub(super) struct Receiver<T: Queued> {
    queue: Arc<Queue<T>>,
    deadlines: Deadlines,
    witness: Arc<dyn Witness>,
    /// What was taken from the queue and is not handed out yet: older than all
    /// that is there.
    taken: Bounded<T>,
    /// How many were lost before what was taken, which is not told yet.
    missed: u64,
    /// A stream has told its end.
    is_over: bool,
}

/// The last, so many and so large at the most.
struct Bounded<T> {
    items: VecDeque<T>,
    bytes: usize,
}

impl<T: Queued> Queue<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
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
    pub(super) fn put(&self, item: T) -> Option<Waker> {
        self.put_all([item])
    }

    /// The same with several, which is one word to who waits.
    #[must_use]
    pub(super) fn put_all(&self, items: impl IntoIterator<Item = T>) -> Option<Waker> {
        let mut state = self.lock();
        if state.abandoned {
            return None;
        }
        for item in items {
            if let Some(history) = &mut state.history {
                history.push(item.clone());
                history.trim();
            }
            state.waiting.push(item);
        }
        state.missed += state.waiting.trim();
        state.waker.take()
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Nothing more will come.
    pub(super) fn end(&self, cause: Disconnected) {
        let mut state = self.lock();
        state.ended = Some(cause);
        let waker = state.waker.take();
        drop(state);
        engine::wake_all(waker);
    }

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

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Queued> Receiver<T> {
    pub(super) fn new(
        queue: Arc<Queue<T>>,
        deadlines: Deadlines,
        witness: Arc<dyn Witness>,
    ) -> Self {
        Self {
            queue,
            deadlines,
            witness,
            taken: Bounded::new(),
            missed: 0,
            is_over: false,
        }
    }

    /// Whose it is.
    pub(super) fn server(&self) -> String {
        self.witness.name()
    }

    pub(super) fn try_next(&mut self) -> Option<T> {
        self.take_if_none(|_| true);
        self.taken.pop()
    }

    pub(super) fn take_all(&mut self) -> Vec<T> {
        let mut all = mem::replace(&mut self.taken, Bounded::new());
        let mut state = self.queue.lock();
        self.missed += mem::take(&mut state.missed);
        all.append(&mut state.waiting);
        drop(state);
        all.items.into()
    }

    pub(super) fn clear(&mut self) {
        let mut state = self.queue.lock();
        self.missed = 0;
        state.missed = 0;
        let waiting = mem::replace(&mut state.waiting, Bounded::new());
        drop(state);
        drop(waiting);
        self.taken = Bounded::new();
    }

    pub(super) fn keep_history(&self) {
        let mut state = self.queue.lock();
        state.history.get_or_insert_with(Bounded::new);
    }

    pub(super) fn history(&self) -> Vec<T> {
        let state = self.queue.lock();
        let history = state.history.iter();
        history
            .flat_map(|kept| kept.items.iter().cloned())
            .collect()
    }

    /// The next that matches; what is before it stays. `expected` names it in
    /// the error; any matches where nothing is said.
    pub(super) fn next(
        &mut self,
        matches: Option<Matches<T>>,
        expected: Cow<'static, str>,
    ) -> Next<'_, T> {
        Next {
            timeout: self.deadlines.limit(),
            asked: Some(Asked {
                receiver: self,
                matches,
                expected,
            }),
            waits: None,
        }
    }

    /// As a stream: the end is told once, and then that there is no more.
    pub(super) fn poll_next_or_end(
        &mut self,
        context: &Context<'_>,
    ) -> Poll<Option<Result<T, EventError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        self.poll_next(context, None, &mut 0).map(|next| {
            self.is_over = matches!(next, Err(EventError::Ended { .. }));
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

    fn take_if_none(&mut self, may: impl FnOnce(&State<T>) -> bool) {
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
    ) -> Poll<Result<T, EventError>> {
        if self.missed > 0 {
            let missed = mem::take(&mut self.missed);
            return Poll::Ready(Err(self.lagged(missed)));
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
        engine::wake_all([context.waker().clone()]);
        Poll::Pending
    }

    /// Takes what has come; if there is none, the waker hears of the next.
    fn take_more(&mut self, context: &Context<'_>) -> Result<bool, EventError> {
        let mut state = self.queue.lock();
        if state.missed > 0 {
            let missed = mem::take(&mut state.missed);
            drop(state);
            return Err(self.lagged(missed));
        }
        if !state.waiting.items.is_empty() {
            self.taken.append(&mut state.waiting);
            drop(state);
            // Those that were looked at and stay count, too.
            return match self.taken.trim() {
                0 => Ok(true),
                missed => Err(self.lagged(missed)),
            };
        }
        if let Some(cause) = state.ended.clone() {
            drop(state);
            let server = self.server();
            return Err(EventError::Ended { server, cause });
        }
        let replaced = state.waker.replace(context.waker().clone());
        drop(state);
        // Unlocked: it may be the last hold on a task with the last client.
        drop(replaced);
        Ok(false)
    }

    fn lagged(&self, missed: u64) -> EventError {
        let server = self.server();
        EventError::Lagged { server, missed }
    }
}

impl<T: Queued> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.queue.abandon();
    }
}

/// Waits for one; made by [`Receiver::next`].
pub(super) struct Next<'a, T: Queued> {
    /// `None` is as long as the connection lives.
    pub(super) timeout: Option<Duration>,
    /// Until it has to wait.
    asked: Option<Asked<'a, T>>,
    waits: Option<Waiting<'a, T>>,
}

struct Asked<'a, T: Queued> {
    receiver: &'a mut Receiver<T>,
    /// `None` is any.
    matches: Option<Matches<T>>,
    expected: Cow<'static, str>,
}

type Waiting<'a, T> = Pin<Box<dyn Future<Output = Result<T, EventError>> + Send + 'a>>;

impl<T: Queued + Send> Future for Next<'_, T> {
    type Output = Result<T, EventError>;

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

impl<T: Queued> Asked<'_, T> {
    async fn wait(self, timeout: Option<Duration>) -> Result<T, EventError> {
        let Self {
            receiver,
            matches,
            expected,
        } = self;
        let deadlines = receiver.deadlines.clone();
        let next = {
            let receiver = &mut *receiver;
            let mut looked_at = 0;
            poll_fn(move |context| receiver.poll_next(context, matches.as_deref(), &mut looked_at))
        };
        match deadlines.timeout(timeout, next).await {
            Ok(outcome) => outcome,
            Err(Elapsed(limit)) => Err(EventError::Timeout {
                server: receiver.server(),
                expected: expected.into_owned(),
                limit,
                seen: receiver.witness.seen(),
            }),
        }
    }
}

impl<T: Queued> Bounded<T> {
    fn new() -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
        }
    }

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
    fn trim(&mut self) -> u64 {
        let mut dropped = 0;
        while self.items.len() > LIMIT_ITEMS || self.bytes > LIMIT_BYTES {
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
