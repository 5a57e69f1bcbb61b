//! A value whose changes many waiters wait for.
//!
//! Each waiter is woken separately. A waker is its executor's code, and a waker
//! that panics must not keep other waiters asleep.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// A value, and the waiters for its changes.
#[derive(Debug, Default)]
pub struct Watched<T>(Mutex<State<T>>);

#[derive(Debug, Default)]
struct State<T> {
    value: T,
    /// In the order in which they came.
    waiters: BTreeMap<u64, Waker>,
    next_number: u64,
}

impl<T> Watched<T> {
    /// Starts with this value.
    pub fn new(value: T) -> Self {
        Self(Mutex::new(State {
            value,
            waiters: BTreeMap::new(),
            next_number: 0,
        }))
    }

    /// Calls `look` with the current value, and returns its result.
    pub fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock().value)
    }

    /// Replaces the value, and wakes every waiter.
    pub fn set(&self, value: T) {
        drop(self.change(|old| std::mem::replace(old, value)));
    }

    /// Changes the value, and wakes every waiter.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut state = self.lock();
        let changed = change(&mut state.value);
        let waiters = std::mem::take(&mut state.waiters);
        drop(state);
        crate::wake_all(waiters.into_values());
        changed
    }

    /// Changes a part of the value that no waiter waits for.
    pub(crate) fn change_unseen<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        change(&mut self.lock().value)
    }

    /// Waits until `find` returns `Some` for the value, and returns its content.
    pub async fn until<R>(&self, mut find: impl FnMut(&T) -> Option<R>) -> R {
        let mut place = Place {
            watched: self,
            number: None,
        };
        poll_fn(|context| {
            let waker = context.waker().clone();
            let mut state = self.lock();
            if let Some(found) = find(&state.value) {
                return Poll::Ready(found);
            }
            let number = place.number.unwrap_or(state.next_number);
            if place.number.replace(number).is_none() {
                state.next_number += 1;
            }
            let former = state.waiters.insert(number, waker);
            // Not locked: dropping a waker may run its executor's code.
            drop(state);
            drop(former);
            Poll::Pending
        })
        .await
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a waiter's waker on drop.
struct Place<'a, T> {
    watched: &'a Watched<T>,
    number: Option<u64>,
}

impl<T> Drop for Place<'_, T> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.watched.lock().waiters.remove(&number);
            drop(waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Wake};

    use super::*;
    use crate::engine::tests::panics;

    struct Counts(AtomicU32);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_nobody_else_from_being_woken() {
        let watched = Watched::new(0);
        let found = |value: &i32| (*value > 1).then_some(*value);
        let (mut one, mut bad, mut other) = (
            pin!(watched.until(found)),
            pin!(watched.until(found)),
            pin!(watched.until(found)),
        );
        let counts = Arc::new(Counts(AtomicU32::new(0)));
        let (good, panics) = (Waker::from(Arc::clone(&counts)), panics());
        let mut context = Context::from_waker(&good);
        assert!(one.as_mut().poll(&mut context).is_pending());
        let mut panicking = Context::from_waker(&panics);
        assert!(bad.as_mut().poll(&mut panicking).is_pending());
        assert!(other.as_mut().poll(&mut context).is_pending());

        watched.set(1);
        assert_eq!(counts.0.load(Ordering::Relaxed), 2);
        // It is not what they wait for, so they wait on.
        assert!(one.as_mut().poll(&mut context).is_pending());
        watched.change(|value| *value += 1);
        assert_eq!(counts.0.load(Ordering::Relaxed), 3);
        for waiting in [one, bad, other] {
            assert_eq!(waiting.poll(&mut context), Poll::Ready(2));
        }
    }

    #[test]
    fn nothing_is_kept_of_who_waits_no_more() {
        let watched = Watched::new(());
        let counts = Arc::new(Counts(AtomicU32::new(0)));
        let waker = Waker::from(Arc::clone(&counts));
        {
            let mut waiting = pin!(watched.until(|()| None::<()>));
            for _ in 0..2 {
                let mut context = Context::from_waker(&waker);
                assert!(waiting.as_mut().poll(&mut context).is_pending());
            }
            // Ours, the waker's, and what the value keeps.
            assert_eq!(Arc::strong_count(&counts), 3);
        }
        assert_eq!(Arc::strong_count(&counts), 2);
        watched.set(());
        assert_eq!(counts.0.load(Ordering::Relaxed), 0);
    }
}
