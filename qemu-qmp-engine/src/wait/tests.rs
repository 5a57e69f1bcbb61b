use std::future::poll_fn;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, mpsc};

use super::*;
use crate::oneshot;

/// A limit for what a busy host may delay.
const BUSY: Duration = Duration::from_secs(20);

/// A socket. Each byte that is read from it wakes the waiter.
struct Bytes {
    socket: UnixStream,
    is_taken: AtomicBool,
    read: Mutex<Vec<u8>>,
    waker: Mutex<Option<Waker>>,
    begun: Mutex<Option<mpsc::Sender<()>>>,
}

fn bytes() -> (Arc<Bytes>, UnixStream, mpsc::Receiver<()>) {
    let (socket, peer) = UnixStream::pair().unwrap();
    let (begun, has_begun) = mpsc::channel();
    let bytes = Bytes {
        socket,
        is_taken: AtomicBool::new(false),
        read: Mutex::default(),
        waker: Mutex::default(),
        begun: Mutex::new(Some(begun)),
    };
    (Arc::new(bytes), peer, has_begun)
}

impl Bytes {
    /// Waits for `count` bytes, and reads them if no other thread does.
    async fn until(self: &Arc<Self>, count: usize) {
        poll_fn(|context| {
            *self.waker.lock().unwrap() = Some(context.waker().clone());
            if self.read.lock().unwrap().len() >= count {
                return Poll::Ready(());
            }
            offer(context, self);
            Poll::Pending
        })
        .await;
    }

    fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Acquire)
    }
}

impl Source for Bytes {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn take_over(&self, _: &Waker) -> bool {
        if let Some(begun) = self.begun.lock().unwrap().take() {
            let _ = begun.send(());
        }
        !self.is_taken.swap(true, Ordering::AcqRel)
    }

    fn read(&self) -> bool {
        let mut byte = [0];
        let count = (&self.socket).read(&mut byte).unwrap();
        assert_ne!(byte[0], b'!', "what reads it panics");
        self.read.lock().unwrap().extend(&byte[..count]);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            engine::wake_all([waker]);
        }
        count > 0
    }

    fn give_back(&self) {
        assert!(self.is_taken.swap(false, Ordering::AcqRel));
    }
}

/// Sets the flag on drop.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn a_check_that_fails_ends_the_wait_in_time_and_the_next_wait_works() {
    let is_dropped = AtomicBool::new(false);
    let start = Instant::now();
    let mut checks = 0;
    let endless = async {
        let _set = SetOnDrop(&is_dropped);
        std::future::pending::<()>().await;
    };
    let outcome = endless.wait_with(|| {
        checks += 1;
        if checks < 3 { Ok(()) } else { Err(checks) }
    });
    assert_eq!(outcome, Err(3));
    assert!(is_dropped.load(Ordering::Acquire));
    let elapsed = start.elapsed();
    assert!(elapsed >= 3 * CHECK_INTERVAL, "{elapsed:?}");
    assert!(elapsed < BUSY, "{elapsed:?}");

    let (sender, receiver) = oneshot::channel();
    let sends = thread::spawn(move || sender.send(7));
    assert_eq!(receiver.wait_with(|| Ok::<_, ()>(())), Ok(Ok(7)));
    sends.join().unwrap().unwrap();
    assert_eq!(async { 8 }.wait(), 8);
}

#[test]
fn a_wait_does_not_check_more_often_than_it_must() {
    let mut checks = 0;
    let mut count = || {
        checks += 1;
        Ok::<_, ()>(())
    };
    assert_eq!(async { 7 }.wait_with(&mut count), Ok(7));
    let start = Instant::now();
    let mut polls = 0;
    let often = poll_fn(|context| {
        polls += 1;
        engine::wake_all([context.waker().clone()]);
        if polls < 1000 {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    });
    often.wait_with(&mut count).unwrap();
    let most = start.elapsed().as_millis() / CHECK_INTERVAL.as_millis() + 1;
    assert!(checks <= most, "{checks} checks");
}

#[test]
fn a_future_that_is_always_woken_is_checked_too() {
    let busy = poll_fn(|context| {
        engine::wake_all([context.waker().clone()]);
        Poll::<()>::Pending
    });
    assert_eq!(busy.wait_with(|| Err("ended")), Err("ended"));
}

#[test]
fn a_check_ends_a_wait_that_reads_itself_and_gives_the_source_back() {
    let (bytes, mut peer, has_begun) = bytes();
    let start = Instant::now();
    let outcome = bytes.until(1).wait_with(|| Err("ended"));
    assert_eq!(outcome, Err("ended"));
    has_begun.recv().unwrap();
    assert!(!bytes.is_taken());
    assert!(start.elapsed() < BUSY);
    peer.write_all(b"a").unwrap();
    assert_eq!(bytes.until(1).wait_with(|| Err("too late")), Ok(()));
}

#[test]
fn a_panic_of_the_check_gives_the_source_back() {
    let (bytes, _peer, _) = bytes();
    let wait = || {
        bytes
            .until(1)
            .wait_with(|| -> Result<(), ()> { panic!("checked") })
    };
    assert!(catch_unwind(AssertUnwindSafe(wait)).is_err());
    assert!(!bytes.is_taken());
}

#[test]
fn who_waits_reads_what_it_waits_for_and_gives_that_back() {
    let (bytes, mut peer, _) = bytes();
    peer.write_all(b"abc").unwrap();
    bytes.until(2).wait();
    assert_eq!(*bytes.read.lock().unwrap(), b"ab");
    assert!(!bytes.is_taken());
}

#[test]
fn a_waker_reaches_who_reads_from_any_thread() {
    let (bytes, _peer, has_begun) = bytes();
    let waits = thread::spawn({
        let bytes = Arc::clone(&bytes);
        move || bytes.until(1).wait()
    });
    has_begun.recv().unwrap();
    bytes.read.lock().unwrap().push(b'a');
    let waker = bytes.waker.lock().unwrap().take();
    engine::wake_all(waker);
    waits.join().unwrap();
    assert!(!bytes.is_taken());
}

#[test]
fn a_wait_within_a_wait_and_another_waker_have_no_part_in_it() {
    let (outer, mut peer, _) = bytes();
    let (inner, mut inner_peer, _) = bytes();
    peer.write_all(b"a").unwrap();
    inner_peer.write_all(b"b").unwrap();
    let nested = async {
        inner.until(1).wait();
        // With another waker, so the thread may not read it.
        let mut other = pin!(outer.until(1));
        let mut context = Context::from_waker(Waker::noop());
        assert!(other.as_mut().poll(&mut context).is_pending());
        OFFERED.with_borrow(|it| assert!(it.is_none()));
        outer.until(1).await;
    };
    nested.wait();
    // A poll outside of a wait offers nothing either.
    let mut context = Context::from_waker(Waker::noop());
    assert!(pin!(outer.until(2)).poll(&mut context).is_pending());
    assert!(POLLED.get().is_null());
}

#[test]
fn what_is_taken_is_given_back_by_a_panic() {
    let (bytes, mut peer, _) = bytes();
    peer.write_all(b"!").unwrap();
    let waits = AssertUnwindSafe(|| bytes.until(1).wait());
    assert!(catch_unwind(waits).is_err());
    assert!(!bytes.is_taken());
    assert!(POLLED.get().is_null());
}

#[test]
fn a_panic_leaves_what_the_next_wait_needs() {
    let panics = |bytes: &Arc<Bytes>| {
        let mut polls = 0;
        let offers_and_panics = poll_fn(|context| {
            polls += 1;
            offer(context, bytes);
            assert!(polls < 2, "the second poll panics");
            bytes.waker.lock().unwrap().replace(context.waker().clone());
            Poll::<()>::Pending
        });
        assert!(catch_unwind(AssertUnwindSafe(|| offers_and_panics.wait())).is_err());
    };
    let (bytes, mut peer, _) = bytes();
    peer.write_all(b"a").unwrap();
    panics(&bytes);
    OFFERED.with_borrow(|it| assert!(it.is_none()));
    assert!(SPARE.take().is_some());
}

#[test]
fn a_task_that_waits_has_all_that_is_there() {
    // A task has a budget of 128 in a turn.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        for number in 0..300 {
            let (tell, told) = oneshot::channel();
            tell.send(number).unwrap();
            let waited = wait_at_most(Duration::from_secs(10), told);
            assert_eq!(waited, Some(Ok(number)));
            let (tell, told) = oneshot::channel();
            tell.send(number).unwrap();
            assert_eq!(told.wait(), Ok(number));
        }
    });
}

#[test]
fn a_thread_waits_also_at_its_end() {
    thread_local! {
        static LAST: RefCell<Option<Waits>> = const { RefCell::new(None) };
    }
    struct Waits(oneshot::Receiver<()>, mpsc::Sender<()>);
    impl Drop for Waits {
        fn drop(&mut self) {
            (&mut self.0).wait().unwrap();
            self.1.send(()).unwrap();
        }
    }
    let (tell, told) = oneshot::channel();
    let (has_waited, waited) = mpsc::channel();
    let thread = thread::spawn(move || {
        LAST.set(Some(Waits(told, has_waited)));
        // So the spare parts of this wait are dropped before `LAST`.
        async {}.wait();
    });
    tell.send(()).unwrap();
    waited.recv().unwrap();
    thread.join().unwrap();
}

#[test]
fn what_another_reads_is_waited_for_without_it() {
    let (bytes, mut peer, has_begun) = bytes();
    bytes.is_taken.store(true, Ordering::Release);
    let waits = thread::spawn({
        let bytes = Arc::clone(&bytes);
        move || bytes.until(1).wait()
    });
    has_begun.recv().unwrap();
    peer.write_all(b"a").unwrap();
    Source::read(&*bytes);
    waits.join().unwrap();
    assert!(bytes.is_taken());
}
