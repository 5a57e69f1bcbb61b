//! Waiting for a future in plain code: on the calling thread, without a runtime.
//!
//! It receives a future and returns its output. A future may offer a [`Source`]:
//! a descriptor that the waiting thread can read itself, instead of the engine.
//! That saves one wake-up per reply.
//!
//! ```text
//!           wait at the bell            wake
//! Waiting <------------------> AtBell ------> Woken
//!    |                                          ^
//!    `------------------ wake ------------------'
//! ```
//!
//! Never leaves a source with a thread that no longer waits.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
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

/// `.wait()` for every future and every operation of these crates: the blocking
/// form of `.await`.
///
/// It blocks the calling thread, so use `.await` inside an async task.
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
        match wait_checking(self, NoCheck) {
            Ok(output) => output,
            Err(never) => match never {},
        }
    }

    /// Blocks the calling thread until the operation has ended, or until `check`
    /// fails.
    ///
    /// It calls `check` when a signal interrupts the thread, and at least every
    /// 50 ms while it waits. It does not call `check` for an operation that has
    /// ended already. So a binding for a language with its own signal handling
    /// can end a wait on Ctrl-C.
    ///
    /// # Errors
    /// The error of `check`. The operation is dropped at once; its `Cancel
    /// safety` section documents the effect.
    ///
    /// # Examples
    /// ```
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// use qemu_qmp_engine::Wait;
    ///
    /// // A handler of Ctrl-C sets it.
    /// static INTERRUPTED: AtomicBool = AtomicBool::new(false);
    ///
    /// # INTERRUPTED.store(true, Ordering::Relaxed);
    /// let outcome = std::future::pending::<()>().wait_with(|| {
    ///     if INTERRUPTED.load(Ordering::Relaxed) {
    ///         Err("interrupted")
    ///     } else {
    ///         Ok(())
    ///     }
    /// });
    /// assert_eq!(outcome, Err("interrupted"));
    /// ```
    fn wait_with<E>(self, check: impl FnMut() -> Result<(), E>) -> Result<Self::Output, E> {
        wait_checking(self, Periodic::new(check, CHECK_INTERVAL))
    }
}

impl<F: IntoFuture> Wait for F {}

/// Blocks the calling thread until the future has ended or `limit` has passed;
/// then it returns `None`. The thread measures the time itself, so this works even
/// if the engine does not run.
pub fn wait_at_most<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    let start = Instant::now();
    let mut future = pin!(without_budget(future));
    let current = CurrentWait::begin();
    let (thread, waker) = (&current.0, current.waker());
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        while !thread.take_woken() {
            thread::park_timeout(limit.checked_sub(start.elapsed())?);
        }
    }
}

/// Waits for a future, and calls `check` when it is due.
///
/// The process may receive a signal in any of its threads, and nothing reports it
/// to the waiting thread. So an interrupted system call is not enough, and a due
/// time limits each step here.
pub(crate) fn wait_checking<F: IntoFuture, C: Check>(
    future: F,
    mut check: C,
) -> Result<F::Output, C::Error> {
    let mut future = pin!(without_budget(future));
    let current = CurrentWait::begin();
    let (thread, waker) = (&current.0, current.waker());
    loop {
        let source = match poll_once(future.as_mut(), &waker) {
            Ok(output) => return Ok(output),
            Err(source) => source,
        };
        // Here too, because a future that is woken all the time never sleeps.
        check.run_if_due()?;
        if let Some(source) = source {
            thread.read_until_woken(&*source, &waker, &mut check)?;
        }
        thread.sleep_until_woken(&mut check)?;
    }
}

/// What a waiting thread must check while it waits.
pub(crate) trait Check {
    type Error;

    /// When the check is due; `None` is never.
    fn due_in(&self) -> Option<Duration>;

    /// Checks now.
    fn run(&mut self) -> Result<(), Self::Error>;

    fn run_if_due(&mut self) -> Result<(), Self::Error> {
        match self.due_in() {
            Some(Duration::ZERO) => self.run(),
            _ => Ok(()),
        }
    }
}

/// A wait that nothing interrupts.
struct NoCheck;

impl Check for NoCheck {
    type Error = Infallible;

    fn due_in(&self) -> Option<Duration> {
        None
    }

    fn run(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A check that is due after each interval.
pub(crate) struct Periodic<F> {
    check: F,
    interval: Duration,
    due: Instant,
}

impl<E, F: FnMut() -> Result<(), E>> Periodic<F> {
    pub(crate) fn new(check: F, interval: Duration) -> Self {
        Self {
            check,
            interval,
            due: Instant::now() + interval,
        }
    }
}

impl<E, F: FnMut() -> Result<(), E>> Check for Periodic<F> {
    type Error = E;

    fn due_in(&self) -> Option<Duration> {
        Some(self.due.saturating_duration_since(Instant::now()))
    }

    fn run(&mut self) -> Result<(), E> {
        (self.check)()?;
        self.due = Instant::now() + self.interval;
        Ok(())
    }
}

/// How often a check runs at least.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The future without tokio's budget. A task of tokio has a budget per turn. A
/// blocking wait is one turn, so tokio's parts would become pending for ever when
/// the budget is used up.
fn without_budget<F: IntoFuture>(future: F) -> impl Future<Output = F::Output> {
    unconstrained(future.into_future())
}

/// A descriptor that a waiting thread can read itself, because the result that it
/// waits for comes through it.
pub trait Source {
    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Lets the calling thread read instead of the engine, if that is possible
    /// now. The waker asks the thread to give the source back.
    fn take_over(&self, waker: &Waker) -> bool;

    /// Reads the data that is there. Returns whether more can come.
    fn read(&self) -> bool;

    /// Lets the engine read again.
    fn give_back(&self);
}

/// Offers a source to the waiting thread, if this context is a waiting thread's.
pub fn offer<S: Source + 'static>(context: &Context<'_>, source: &Arc<S>) {
    let polled = POLLED.get();
    // A waker without data exists too.
    if !polled.is_null() && ptr::eq(polled, context.waker().data()) {
        // At the end of a thread its thread-locals are gone.
        let _ = OFFERED.try_with(|it| it.replace(Some(Arc::clone(source) as _)));
    }
}

/// Polls the future of a wait. While it is pending, returns the source that it
/// has offered.
fn poll_once<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Result<F::Output, Option<Offer>> {
    let outer = RestoreOuter(POLLED.replace(waker.data()));
    let polled = future.poll(&mut Context::from_waker(waker));
    let offered = OFFERED.try_with(RefCell::take).unwrap_or_default();
    drop(outer);
    match polled {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(offered),
    }
}

/// Restores the state of the outer wait on drop, also on a panic. A panic leaves
/// no offer behind.
struct RestoreOuter(*const ());

impl Drop for RestoreOuter {
    fn drop(&mut self) {
        POLLED.set(self.0);
        let _ = OFFERED.try_with(RefCell::take);
    }
}

type Offer = Arc<dyn Source>;

thread_local! {
    /// The data of the waker of the future that is polled now. It distinguishes a
    /// wait from the waits inside it.
    static POLLED: Cell<*const ()> = const { Cell::new(ptr::null()) };
    static OFFERED: RefCell<Option<Offer>> = const { RefCell::new(None) };
    /// Kept for the next wait: many waits do not even sleep.
    static SPARE: Cell<Option<Arc<WaitingThread>>> = const { Cell::new(None) };
}

/// A thread that waits.
struct WaitingThread {
    thread: Thread,
    state: AtomicU8,
    bell: OnceLock<Arc<Bell>>,
}

/// It was not woken yet.
const WAITING: u8 = 0;
/// It was not woken yet, and only the bell can wake it.
const AT_BELL: u8 = 1;
const WOKEN: u8 = 2;

impl WaitingThread {
    fn current() -> Arc<Self> {
        let spare = SPARE.try_with(Cell::take).unwrap_or_default();
        spare.unwrap_or_else(|| {
            Arc::new(Self {
                thread: thread::current(),
                state: AtomicU8::new(WAITING),
                bell: OnceLock::new(),
            })
        })
    }

    fn sleep_until_woken<C: Check>(&self, check: &mut C) -> Result<(), C::Error> {
        while !self.take_woken() {
            let Some(limit) = check.due_in() else {
                thread::park();
                continue;
            };
            if self.sleep_interruptibly(limit) {
                check.run()?;
            } else {
                check.run_if_due()?;
            }
        }
        Ok(())
    }

    /// Sleeps until the thread is woken or `limit` has passed. Returns whether a
    /// signal interrupted it: parking would not return then, but the bell does.
    fn sleep_interruptibly(&self, limit: Duration) -> bool {
        let Some(bell) = self.bell() else {
            thread::park_timeout(limit);
            return false;
        };
        if !self.transition(WAITING, AT_BELL) {
            return false;
        }
        let rung = bell.wait_beside(None, Some(limit));
        self.transition(AT_BELL, WAITING);
        rung.is_err_and(|error| error.kind() == io::ErrorKind::Interrupted)
    }

    /// Whether it was woken since the last call. `park` alone does not show it:
    /// another wait on this thread, also inside the poll, may have consumed the
    /// `unpark`.
    fn take_woken(&self) -> bool {
        self.state.swap(WAITING, Ordering::AcqRel) == WOKEN
    }

    /// Reads `source` until the thread is woken, or until reading is not possible.
    /// Then the engine reads, as usual.
    fn read_until_woken<C: Check>(
        &self,
        source: &dyn Source,
        waker: &Waker,
        check: &mut C,
    ) -> Result<(), C::Error> {
        if !source.take_over(waker) {
            return Ok(());
        }
        let _guard = GiveBack(source);
        // Without a descriptor for the bell, the engine reads.
        let Some(bell) = self.bell() else {
            return Ok(());
        };
        while self.transition(WAITING, AT_BELL) {
            let readable = bell.wait_beside(Some(source.descriptor()), check.due_in());
            if !self.transition(AT_BELL, WAITING) {
                return Ok(());
            }
            match readable {
                Ok(true) if !source.read() => return Ok(()),
                // The bell may have rung for an earlier wait.
                Ok(_) => check.run_if_due()?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => check.run()?,
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Changes the state; `false` if it has another state, because it was woken.
    fn transition(&self, from: u8, to: u8) -> bool {
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

/// One wait. On drop, also on a panic, its parts are kept for the next wait, if
/// no waker of this one exists any more.
struct CurrentWait(Arc<WaitingThread>);

impl CurrentWait {
    fn begin() -> Self {
        Self(WaitingThread::current())
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.0))
    }
}

impl Drop for CurrentWait {
    fn drop(&mut self) {
        if let Some(bell) = self.0.bell.get() {
            engine::put_bell_back(bell);
        }
        if let Some(thread) = Arc::get_mut(&mut self.0) {
            (thread.state, thread.bell) = (AtomicU8::new(WAITING), OnceLock::new());
            let _ = SPARE.try_with(|it| it.set(Some(Arc::clone(&self.0))));
        }
    }
}

impl Wake for WaitingThread {
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

/// Gives a source back to the engine on drop, also on a panic.
struct GiveBack<'a>(&'a dyn Source);

impl Drop for GiveBack<'_> {
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
        assert!(elapsed < 20 * CHECK_INTERVAL, "{elapsed:?}");

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
        assert!(start.elapsed() < 20 * CHECK_INTERVAL);
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
}
