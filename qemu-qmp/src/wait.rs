//! Waiting for a future from plain code.

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

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
        let parked = Arc::new(Parked {
            thread: thread::current(),
            woken: AtomicBool::new(false),
        });
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

struct Parked {
    thread: Thread,
    woken: AtomicBool,
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
