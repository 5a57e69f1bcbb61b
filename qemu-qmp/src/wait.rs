//! Waiting for a future from plain code.

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// `.wait()` for every future and every operation of these crates: the plain
/// twin of `.await`.
///
/// It blocks the calling thread, so inside an async task use `.await`.
///
/// # Examples
/// ```
/// use qemu_qmp::Wait;
///
/// assert_eq!(async { 1 + 1 }.wait(), 2);
/// ```
pub trait Wait: IntoFuture + Sized {
    /// Blocks the calling thread until the operation has ended.
    fn wait(self) -> Self::Output {
        let mut future = pin!(self.into_future());
        let parked = Parked::here();
        let waker = Waker::from(Arc::clone(&parked));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            // A park alone does not tell: whatever else the thread waits for,
            // also within the poll, may have used up the unpark.
            while !parked.woken.swap(false, Ordering::Acquire) {
                thread::park();
            }
        }
    }
}

impl<F: IntoFuture> Wait for F {}

/// Blocks the calling thread until the future has ended, but no longer than
/// `limit`; `None` where that passed. The thread itself tells the time, so it
/// goes on also where the engine has no turn.
pub fn wait_at_most<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let begun = Instant::now();
    let mut future = pin!(future);
    let parked = Parked::here();
    let waker = Waker::from(Arc::clone(&parked));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        while !parked.woken.swap(false, Ordering::Acquire) {
            thread::park_timeout(limit.checked_sub(begun.elapsed())?);
        }
    }
}

struct Parked {
    thread: Thread,
    woken: AtomicBool,
}

impl Parked {
    fn here() -> Arc<Self> {
        Arc::new(Self {
            thread: thread::current(),
            woken: AtomicBool::new(false),
        })
    }
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        self.thread.unpark();
    }
}
