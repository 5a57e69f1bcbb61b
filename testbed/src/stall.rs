//! Blocks the thread that wakes a future.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};

/// An executor's waker that does not return.
struct Stalls {
    reached: Sender<()>,
    released: Mutex<Receiver<()>>,
}

impl Wake for Stalls {
    fn wake(self: Arc<Self>) {
        self.reached.send(()).unwrap();
        let _ = self.released.lock().unwrap().recv();
    }
}

/// Blocks the thread that wakes `future` until the returned value is dropped.
/// `go` makes something wake it; before that, nothing may wake it.
///
/// # Panics
/// The future ended before it was woken.
pub fn stall_who_wakes<F: Future>(future: F, go: impl FnOnce()) -> Sender<()> {
    let (reached, is_reached) = channel();
    let (release, released) = channel();
    let waker = Waker::from(Arc::new(Stalls {
        reached,
        released: Mutex::new(released),
    }));
    let mut future = pin!(future);
    let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending(), "the future ended at its first poll");
    go();
    is_reached.recv().unwrap();
    release
}
