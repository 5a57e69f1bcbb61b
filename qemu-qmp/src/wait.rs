//! Waiting for a future from plain code.

use std::future::{Future, IntoFuture};
use std::pin::pin;
use std::sync::Arc;
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
        let waker = Waker::from(Arc::new(Parked(thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            match future.as_mut().poll(&mut context) {
                Poll::Ready(output) => return output,
                // An unpark that came before it makes it return at once.
                Poll::Pending => thread::park(),
            }
        }
    }
}

impl<F: IntoFuture> Wait for F {}

struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}
