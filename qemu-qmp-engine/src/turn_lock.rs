//! A lock for futures. They get it in the order of their calls, and may keep it while
//! they wait for something else.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::Watched;

/// A lock. A clone is a handle to the same lock.
///
/// Its release wakes the next waiter through a [`Watched`], so a waker that panics
/// does not keep other waiters asleep.
#[derive(Debug)]
pub struct TurnLock<T>(Arc<Watched<State<T>>>);

#[derive(Debug)]
struct State<T> {
    /// `None` while it is locked.
    value: Option<T>,
    /// The owner of the lock, and the waiters behind it.
    queue: VecDeque<u64>,
    next_ticket: u64,
}

/// Access to the value. The lock is released on drop.
#[derive(Debug)]
pub struct Held<T> {
    lock: Arc<Watched<State<T>>>,
    ticket: u64,
    /// `None` before it has the lock.
    value: Option<T>,
}

impl<T> TurnLock<T> {
    /// Creates a lock for this value.
    pub fn new(value: T) -> Self {
        Self(Arc::new(Watched::new(State {
            value: Some(value),
            queue: VecDeque::new(),
            next_ticket: 0,
        })))
    }

    /// Waits for the lock.
    ///
    /// # Cancel safety
    /// If the future is dropped, the next waiter gets the lock.
    pub async fn lock(&self) -> Held<T> {
        let ticket = self.0.change_unseen(|state| {
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            state.queue.push_back(ticket);
            ticket
        });
        let mut held = Held {
            lock: Arc::clone(&self.0),
            ticket,
            value: None,
        };
        let in_turn = |state: &State<T>| (state.queue.front() == Some(&ticket)).then_some(());
        self.0.until(in_turn).await;
        held.value = self.0.change_unseen(|state| state.value.take());
        held
    }
}

impl<T: Default> Default for TurnLock<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Clone for TurnLock<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.value.as_ref().expect(HAS_VALUE)
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(HAS_VALUE)
    }
}

const HAS_VALUE: &str = "a guard has the value";

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        let value = self.value.take();
        self.lock.change(|state| {
            if value.is_some() {
                state.value = value;
            }
            state.queue.retain(|&ticket| ticket != self.ticket);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::engine::tests::panics;

    #[test]
    fn each_has_its_turn_and_who_gives_up_is_passed_over() {
        let lock = TurnLock::new(1);
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(mut first) = pin!(lock.lock()).poll(&mut context) else {
            panic!("nobody else holds it");
        };
        *first += 1;
        let mut given_up = Box::pin(lock.lock());
        let (mut second, mut third) = (pin!(lock.lock()), pin!(lock.lock()));
        assert!(given_up.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(third.as_mut().poll(&mut context).is_pending());
        drop((first, given_up));
        assert!(third.as_mut().poll(&mut context).is_pending());
        let Poll::Ready(second) = second.as_mut().poll(&mut context) else {
            panic!("it is the next");
        };
        assert_eq!(*second, 2);
        drop(second);
        assert!(third.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn a_waker_that_panics_does_not_harm_who_lets_go_of_the_lock() {
        let lock = TurnLock::new(());
        let mut context = Context::from_waker(Waker::noop());
        let panics = panics();
        let mut panicking = Context::from_waker(&panics);
        let Poll::Ready(held) = pin!(lock.lock()).poll(&mut context) else {
            panic!("nobody else holds it");
        };
        let mut waits = pin!(lock.lock());
        assert!(waits.as_mut().poll(&mut panicking).is_pending());
        drop(held);
        assert!(waits.as_mut().poll(&mut context).is_ready());
    }
}
