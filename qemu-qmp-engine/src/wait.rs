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
mod tests;
