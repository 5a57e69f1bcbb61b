//! Work that blocks, as a future with a time limit.

use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

/// Does the work in another thread, up to this time; `None` if it was late. The
/// thread of late work is left behind.
pub(crate) fn blocking<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = Option<T>> {
    let slot = Arc::new(Slot(Mutex::new(Filling {
        result: None,
        waiting: None,
    })));
    let (worker, clock) = (Arc::clone(&slot), Arc::clone(&slot));
    thread::spawn(move || worker.fill(Ok(work())));
    thread::spawn(move || {
        thread::sleep(limit);
        clock.fill(Err(Late));
    });
    poll_fn(move |context| {
        let mut slot = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = slot.result.take() {
            return Poll::Ready(result.ok());
        }
        slot.waiting = Some(context.waker().clone());
        Poll::Pending
    })
}

/// Does the work in another thread. If the future is dropped, the work goes on to
/// its end, and its result is dropped.
pub(crate) fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> impl Future<Output = T> {
    let slot = Arc::new(Slot(Mutex::new(Filling {
        result: None,
        waiting: None,
    })));
    let worker = Arc::clone(&slot);
    thread::spawn(move || worker.fill(Ok(work())));
    poll_fn(move |context| {
        let mut slot = slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(result)) = slot.result.take() {
            return Poll::Ready(result);
        }
        slot.waiting = Some(context.waker().clone());
        Poll::Pending
    })
}

/// The result, and the waker of its waiter.
struct Slot<T>(Mutex<Filling<T>>);

struct Filling<T> {
    result: Option<Result<T, Late>>,
    waiting: Option<Waker>,
}

/// The time was up first.
struct Late;

impl<T> Slot<T> {
    fn fill(&self, result: Result<T, Late>) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.result = Some(result);
        let waiting = slot.waiting.take();
        drop(slot);
        if let Some(waker) = waiting {
            #[expect(
                clippy::disallowed_methods,
                reason = "the waker is that of the command's own wait or of the engine, which do not panic"
            )]
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use qemu_machine::Wait;

    use super::*;

    #[test]
    fn work_in_time_has_its_result_and_late_work_has_none() {
        assert_eq!(blocking(Duration::from_mins(1), || 7).wait(), Some(7));
        let never = || std::thread::park_timeout(Duration::from_mins(1));
        assert_eq!(blocking(Duration::ZERO, never).wait(), None);
    }
}
