//! Waiting for a future from plain code.

use std::cell::{Cell, RefCell};
use std::future::{Future, IntoFuture};
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::{Pin, pin};
use std::ptr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use tokio::task::unconstrained;

use crate::engine;
use crate::watch::Bell;

/// `.wait()` for every future and every operation of these crates: the plain
/// twin of `.await`.
///
/// It blocks the calling thread, so inside an async task use `.await`.
///
/// # Examples
/// ```
/// use qemu_qmp_engine::Wait;
///
/// assert_eq!(async { 1 + 1 }.wait(), 2);
/// ```
pub trait Wait: IntoFuture + Sized {
    /// Blocks the calling thread until the operation has ended.
    fn wait(self) -> Self::Output {
        let mut future = pin!(unsparing(self));
        let waits = Waits(Parked::here());
        let (parked, waker) = (&waits.0, waits.waker());
        loop {
            match polled(future.as_mut(), &waker) {
                Ok(output) => return output,
                Err(Some(source)) => parked.read_until_woken(&*source, &waker),
                Err(None) => {}
            }
            parked.until_woken();
        }
    }
}

impl<F: IntoFuture> Wait for F {}

/// Blocks the calling thread until the future has ended, but no longer than
/// `limit`; `None` where that passed. The thread itself tells the time, so it
/// goes on also where the engine has no turn.
pub fn wait_at_most<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let begun = Instant::now();
    let mut future = pin!(unsparing(future));
    let waits = Waits(Parked::here());
    let (parked, waker) = (&waits.0, waits.waker());
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        while !parked.was_woken() {
            thread::park_timeout(limit.checked_sub(begun.elapsed())?);
        }
    }
}

/// The future, also where a task of tokio's waits: what is tokio's in it would be
/// pending once the task has had its share of a turn, which lasts as long as the
/// wait does.
fn unsparing<F: IntoFuture>(future: F) -> impl Future<Output = F::Output> {
    unconstrained(future.into_future())
}

/// What a thread that waits can read itself meanwhile: what it waits for comes
/// by it, and need not wake the engine first.
pub trait Source {
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Has the calling thread read, and not the engine, if that is possible now.
    /// By the waker, it is asked to give that back.
    fn take_over(&self, waker: &Waker) -> bool;

    /// Reads what there is, and tells whether more can come.
    fn read(&self) -> bool;

    /// Has the engine read again.
    fn give_back(&self);
}

/// Tells the thread, where it is one that waits by this context, what it can
/// read itself until it is woken.
pub fn offer<S: Source + 'static>(context: &Context<'_>, source: &Arc<S>) {
    let polled = POLLED.get();
    // There are wakers of nothing, too.
    if !polled.is_null() && ptr::eq(polled, context.waker().data()) {
        // At a thread's end there is no place for it any more.
        let _ = OFFERED.try_with(|it| it.replace(Some(Arc::clone(source) as _)));
    }
}

/// Polls the future of a wait, and gives what it has offered.
fn polled<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Result<F::Output, Option<Offer>> {
    let outer = Outer(POLLED.replace(waker.data()));
    let polled = future.poll(&mut Context::from_waker(waker));
    let offered = OFFERED.try_with(RefCell::take).unwrap_or_default();
    drop(outer);
    match polled {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(offered),
    }
}

/// The wait around this one has its place back, also by a panic, which leaves no
/// offer to anybody.
struct Outer(*const ());

impl Drop for Outer {
    fn drop(&mut self) {
        POLLED.set(self.0);
        let _ = OFFERED.try_with(RefCell::take);
    }
}

type Offer = Arc<dyn Source>;

thread_local! {
    /// Whose future is polled now: what its waker is of, by which a wait is
    /// told from others within it.
    static POLLED: Cell<*const ()> = const { Cell::new(ptr::null()) };
    static OFFERED: RefCell<Option<Offer>> = const { RefCell::new(None) };
    /// Kept for the next wait, as many need not even park.
    static SPARE: Cell<Option<Arc<Parked>>> = const { Cell::new(None) };
}

/// A thread that waits.
struct Parked {
    thread: Thread,
    state: AtomicU8,
    bell: OnceLock<Arc<Bell>>,
}

/// Nobody has woken it yet.
const WAITS: u8 = 0;
/// The same, and it hears the bell alone.
const AT_BELL: u8 = 1;
const WOKEN: u8 = 2;

impl Parked {
    fn here() -> Arc<Self> {
        let spare = SPARE.try_with(Cell::take).unwrap_or_default();
        spare.unwrap_or_else(|| {
            Arc::new(Self {
                thread: thread::current(),
                state: AtomicU8::new(WAITS),
                bell: OnceLock::new(),
            })
        })
    }

    fn until_woken(&self) {
        while !self.was_woken() {
            thread::park();
        }
    }

    /// Whether it was woken since this was asked last. A park alone does not
    /// tell: whatever else the thread waits for, also within the poll, may have
    /// used up the unpark.
    fn was_woken(&self) -> bool {
        self.state.swap(WAITS, Ordering::AcqRel) == WOKEN
    }

    /// Reads `source` until the thread is woken, or until that cannot be done;
    /// then the engine reads, as it does otherwise.
    fn read_until_woken(&self, source: &dyn Source, waker: &Waker) {
        if !source.take_over(waker) {
            return;
        }
        let _reads = GivenBack(source);
        // Without a descriptor for it, there is the engine.
        let Some(bell) = self.bell() else { return };
        while self.moves(WAITS, AT_BELL) {
            let readable = bell.wait_beside(source.descriptor());
            if !self.moves(AT_BELL, WAITS) {
                return;
            }
            match readable {
                Ok(true) if !source.read() => return,
                // It has rung for what was over already.
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// From one state to another, unless it was woken.
    fn moves(&self, from: u8, to: u8) -> bool {
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        self.state
            .compare_exchange(from, to, success, failure)
            .is_ok()
    }

    fn bell(&self) -> Option<&Bell> {
        if self.bell.get().is_none() {
            let _ = self.bell.set(engine::take_bell()?);
        }
        self.bell.get().map(|bell| &**bell)
    }
}

/// One wait. When it is over, also by a panic, its parts serve the next, where
/// nobody can wake it any more.
struct Waits(Arc<Parked>);

impl Waits {
    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if let Some(bell) = self.0.bell.get() {
            engine::put_bell_back(bell);
        }
        if let Some(parked) = Arc::get_mut(&mut self.0) {
            (parked.state, parked.bell) = (AtomicU8::new(WAITS), OnceLock::new());
            let _ = SPARE.try_with(|it| it.set(Some(Arc::clone(&self.0))));
        }
    }
}

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        match (self.state.swap(WOKEN, Ordering::AcqRel), self.bell.get()) {
            (AT_BELL, Some(bell)) => bell.ring(),
            _ => self.thread.unpark(),
        }
    }
}

/// Has the engine read again when it is dropped, also by a panic.
struct GivenBack<'a>(&'a dyn Source);

impl Drop for GivenBack<'_> {
    fn drop(&mut self) {
        self.0.give_back();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::AtomicBool;
    use std::sync::{Mutex, mpsc};

    use super::*;
    use crate::oneshot;

    /// A socket of which each byte that is read wakes who waits.
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
        /// Waits for so many, and reads them where nobody else does.
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
            // Not by our own waker, so it is nothing that the thread may read.
            let mut other = pin!(outer.until(1));
            let mut context = Context::from_waker(Waker::noop());
            assert!(other.as_mut().poll(&mut context).is_pending());
            OFFERED.with_borrow(|it| assert!(it.is_none()));
            outer.until(1).await;
        };
        nested.wait();
        // Nor has who is polled by nobody that waits.
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
        // A task has 128 shares in a turn.
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
            // So that what waits keep is gone before it is.
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
}
