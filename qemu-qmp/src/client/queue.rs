//! A bounded queue between the connection's reader and one who listens.
//!
//! One that lags loses its oldest and is told how many; it costs the others
//! nothing.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::{Disconnected, EventError, Witness};
use crate::Deadlines;
use crate::engine::Elapsed;

/// What is queued: a clone is a cheap handle.
pub(super) trait Queued: Clone {
    /// How much memory it takes, roughly.
    fn size_bytes(&self) -> usize;
}

/// Which one is waited for: code of the user's.
pub(super) type Matches<T> = Box<dyn Fn(&T) -> bool + Send>;

pub(super) struct Queue<T> {
    deadlines: Deadlines,
    witness: Arc<dyn Witness>,
    state: Mutex<State<T>>,
}

struct State<T> {
    waiting: Bounded<T>,
    /// Where it is kept.
    history: Option<Bounded<T>>,
    missed: u64,
    ended: Option<Disconnected>,
    /// A stream has told its end.
    is_over: bool,
    abandoned: bool,
    waker: Option<Waker>,
}

/// The last, so many and so large at the most.
struct Bounded<T> {
    items: VecDeque<T>,
    bytes: usize,
}

impl<T: Queued> Queue<T> {
    pub(super) fn new(deadlines: Deadlines, witness: Arc<dyn Witness>) -> Self {
        Self {
            deadlines,
            witness,
            state: Mutex::new(State {
                waiting: Bounded::new(),
                history: None,
                missed: 0,
                ended: None,
                is_over: false,
                abandoned: false,
                waker: None,
            }),
        }
    }

    /// Whose it is.
    pub(super) fn server(&self) -> String {
        self.witness.name()
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

    /// Nobody listens any more.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        let dropped = (
            std::mem::replace(&mut state.waiting, Bounded::new()),
            state.history.take(),
            state.waker.take(),
        );
        drop(state);
        // Unlocked: a waker is its executor's code.
        drop(dropped);
    }

    /// Nothing more will come. May run the code of an executor.
    pub(super) fn end(&self, cause: Disconnected) {
        let mut state = self.lock();
        state.ended = Some(cause);
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(super) fn try_next(&self) -> Option<T> {
        self.lock().waiting.pop()
    }

    pub(super) fn take_all(&self) -> Vec<T> {
        let taken = std::mem::replace(&mut self.lock().waiting, Bounded::new());
        taken.items.into()
    }

    pub(super) fn clear(&self) {
        let mut state = self.lock();
        (state.waiting, state.missed) = (Bounded::new(), 0);
    }

    pub(super) fn keep_history(&self) {
        self.lock().history.get_or_insert_with(Bounded::new);
    }

    pub(super) fn history(&self) -> Vec<T> {
        let state = self.lock();
        let history = state.history.iter();
        history
            .flat_map(|kept| kept.items.iter().cloned())
            .collect()
    }

    /// The next that matches; what is before it stays. `expected` names it in
    /// the error; any matches where nothing is said.
    pub(super) fn next(
        &self,
        matches: Option<Matches<T>>,
        expected: Cow<'static, str>,
    ) -> Next<'_, T> {
        Next {
            queue: self,
            expected,
            matches,
            timeout: self.deadlines.limit(),
            waits: None,
        }
    }

    async fn wait_for(
        &self,
        matches: Option<Matches<T>>,
        expected: Cow<'static, str>,
        timeout: Option<Duration>,
    ) -> Result<T, EventError> {
        let next = poll_fn(move |context| match &matches {
            Some(matches) => self.poll_next(context, matches),
            None => self.poll_next(context, &|_| true),
        });
        match self.deadlines.timeout(timeout, next).await {
            Ok(outcome) => outcome,
            Err(Elapsed(limit)) => Err(EventError::Timeout {
                server: self.witness.name(),
                expected: expected.into_owned(),
                limit,
                seen: self.witness.seen(),
            }),
        }
    }

    /// The oldest, if it is there and nothing before it was missed.
    fn first(&self) -> Option<T> {
        let mut state = self.lock();
        match state.missed {
            0 => state.waiting.pop(),
            _ => None,
        }
    }

    /// As a stream: the end is told once, and then that there is no more.
    pub(super) fn poll_next_or_end(
        &self,
        context: &Context<'_>,
    ) -> Poll<Option<Result<T, EventError>>> {
        if self.lock().is_over {
            return Poll::Ready(None);
        }
        if let Some(item) = self.first() {
            return Poll::Ready(Some(Ok(item)));
        }
        self.poll_next(context, &|_| true).map(|next| {
            self.lock().is_over = matches!(next, Err(EventError::Ended { .. }));
            Some(next)
        })
    }

    /// Looks for one that matches. The user's code that decides it runs
    /// unlocked: the reader, and thus every machine, waits for the lock.
    fn poll_next(
        &self,
        context: &Context<'_>,
        matches: &dyn Fn(&T) -> bool,
    ) -> Poll<Result<T, EventError>> {
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
            waiting: std::mem::replace(&mut state.waiting, Bounded::new()),
        };
        drop(state);
        // Unlocked: it may be the last hold on a task with the last client.
        drop(replaced);
        let found = taken.waiting.take(matches);
        drop(taken);
        if let Some(item) = found {
            return Poll::Ready(Ok(item));
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

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for one; made by [`Queue::next`].
pub(super) struct Next<'a, T> {
    queue: &'a Queue<T>,
    expected: Cow<'static, str>,
    /// `None` is any.
    matches: Option<Matches<T>>,
    /// `None` is as long as the connection lives.
    pub(super) timeout: Option<Duration>,
    /// From when it has to wait.
    waits: Option<Waiting<'a, T>>,
}

type Waiting<'a, T> = Pin<Box<dyn Future<Output = Result<T, EventError>> + Send + 'a>>;

impl<T: Queued + Send> Future for Next<'_, T> {
    type Output = Result<T, EventError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(waits) = &mut this.waits {
            return waits.as_mut().poll(context);
        }
        // What is there needs neither a clock, a waker nor memory.
        if this.matches.is_none()
            && let Some(item) = this.queue.first()
        {
            return Poll::Ready(Ok(item));
        }
        let expected = std::mem::take(&mut this.expected);
        let waits = this
            .queue
            .wait_for(this.matches.take(), expected, this.timeout);
        this.waits.insert(Box::pin(waits)).as_mut().poll(context)
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

    fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.bytes -= item.size_bytes();
        Some(item)
    }

    fn take(&mut self, matches: &dyn Fn(&T) -> bool) -> Option<T> {
        let index = self.items.iter().position(matches)?;
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

/// Those that are being looked at; put back before those that came meanwhile,
/// however the look ends.
struct Taken<'a, T: Queued> {
    queue: &'a Queue<T>,
    waiting: Bounded<T>,
}

impl<T: Queued> Drop for Taken<'_, T> {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        let newer = std::mem::replace(&mut state.waiting, Bounded::new());
        std::mem::swap(&mut state.waiting, &mut self.waiting);
        state.waiting.bytes += newer.bytes;
        state.waiting.items.extend(newer.items);
        state.missed += state.waiting.trim();
    }
}

/// The most that a queue holds that nobody reads.
const LIMIT_ITEMS: usize = 100_000;
const LIMIT_BYTES: usize = 16 << 20;
