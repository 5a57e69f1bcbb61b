//! Somebody who is held up by the waker of another's future.

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

/// Has whoever wakes `future` stand still until what is returned is dropped.
/// `go` lets it be woken: before that, nobody may.
///
/// # Panics
/// The future has ended before anybody woke it.
pub fn stall_who_wakes<F: Future>(future: F, go: impl FnOnce()) -> Sender<()> {
    let (reached, is_reached) = channel();
    let (release, released) = channel();
    let waker = Waker::from(Arc::new(Stalls {
        reached,
        released: Mutex::new(released),
    }));
    let mut future = pin!(future);
    let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending(), "answered before it was waited for");
    go();
    is_reached.recv().unwrap();
    release
}
