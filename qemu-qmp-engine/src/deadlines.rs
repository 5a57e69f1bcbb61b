//! The default timeout of operations, and the clock that measures it.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::timers::{Timer, unless};
use crate::{Elapsed, Watched};

/// The deadlines of all operations on one server or machine.
///
/// Clones share one clock. While they are suspended, no deadline passes: use it
/// while a debugger stops the server. After that, each deadline continues with the
/// time that it had left.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use qemu_qmp_engine::Deadlines;
///
/// let deadlines = Deadlines::new(Some(Duration::from_secs(5)));
/// deadlines.suspend();
/// // … here a debugger stops the server, and no wait times out …
/// deadlines.resume();
/// ```
#[derive(Debug, Clone)]
pub struct Deadlines(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: Option<Duration>,
    clock: Watched<Clock>,
}

/// A clock that can be stopped.
#[derive(Debug, Default)]
struct Clock {
    stopped_at: Option<Instant>,
    /// How long it was stopped in all, without the current stop.
    behind: Duration,
}

impl Deadlines {
    /// Sets the default timeout of operations. With `None` they wait without a
    /// limit.
    pub fn new(limit: Option<Duration>) -> Self {
        Self(Arc::new(Shared {
            limit,
            clock: Watched::default(),
        }))
    }

    /// The default timeout of operations; `None` is no limit.
    pub fn limit(&self) -> Option<Duration> {
        self.0.limit
    }

    /// Suspends the deadlines of running and future operations.
    pub fn suspend(&self) {
        self.0.clock.change(|clock| {
            clock.stopped_at.get_or_insert_with(Instant::now);
        });
    }

    /// Resumes the deadlines, each with the time that it had left.
    pub fn resume(&self) {
        self.0.clock.change(|clock| {
            if let Some(at) = clock.stopped_at.take() {
                clock.behind += at.elapsed();
            }
        });
    }

    /// Whether they are suspended.
    pub fn are_suspended(&self) -> bool {
        self.0.clock.look(|clock| clock.stopped_at.is_some())
    }

    /// The time of this clock, which stops while it is suspended. Compare it only
    /// with other times of the same clock.
    pub fn now(&self) -> Instant {
        self.0.clock.look(|clock| {
            let now = clock.stopped_at.unwrap_or_else(Instant::now);
            now.checked_sub(clock.behind).unwrap_or(now)
        })
    }

    /// Waits for `future`, at most for `limit` by this clock; `None` is no limit.
    ///
    /// # Errors
    /// The limit passed first. The future is dropped.
    pub fn timeout<F: Future>(
        &self,
        limit: Option<Duration>,
        future: F,
    ) -> impl Future<Output = Result<F::Output, Elapsed>> {
        unless(self.elapsed(self.now(), limit), future)
    }

    /// Ends when `limit` has passed by this clock since `start`.
    async fn elapsed(&self, start: Instant, limit: Option<Duration>) -> Elapsed {
        let Some(limit) = limit else {
            return pending().await;
        };
        loop {
            if self.are_suspended() {
                let runs = |clock: &Clock| clock.stopped_at.is_none().then_some(());
                self.0.clock.until(runs).await;
                continue;
            }
            let passed = self.now().saturating_duration_since(start);
            Timer::new(Some(limit.saturating_sub(passed))).await;
            // The clock may have been stopped during the timer.
            if self.now().saturating_duration_since(start) >= limit {
                return Elapsed(limit);
            }
        }
    }
}

impl Default for Deadlines {
    /// 30 s.
    fn default() -> Self {
        Self::new(Some(Duration::from_secs(30)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Engine;
    use crate::Wait;

    const SHORT: Duration = Duration::from_millis(20);

    async fn never() {
        std::future::pending::<()>().await;
    }

    #[test]
    fn a_deadline_passes_after_its_time_and_not_while_suspended() {
        Engine::start().unwrap();
        let deadlines = Deadlines::default();
        let begun = Instant::now();
        assert_eq!(
            deadlines.timeout(Some(SHORT), never()).wait(),
            Err(Elapsed(SHORT))
        );
        assert!(begun.elapsed() >= SHORT);

        // A running deadline continues where it stopped. A deadline that began
        // during the stop has all of its time.
        deadlines.suspend();
        deadlines.suspend();
        let stopped = deadlines.now();
        let other = deadlines.clone();
        let waiting =
            std::thread::spawn(move || other.timeout(Some(SHORT), never()).wait().unwrap_err());
        // A wait by another clock, for longer than the deadline.
        crate::timeout(Some(5 * SHORT), never()).wait().unwrap_err();
        assert_eq!(deadlines.now(), stopped);
        assert!(!waiting.is_finished());
        let resumed = Instant::now();
        deadlines.resume();
        assert_eq!(waiting.join().unwrap(), Elapsed(SHORT));
        assert!(resumed.elapsed() >= SHORT / 2, "{:?}", resumed.elapsed());
        assert!(deadlines.now() >= stopped);
    }

    #[test]
    fn what_ends_while_suspended_ends_at_once() {
        Engine::start().unwrap();
        let deadlines = Deadlines::new(None);
        deadlines.suspend();
        assert_eq!(deadlines.timeout(Some(SHORT), async { 7 }).wait(), Ok(7));
        assert_eq!(deadlines.timeout(None, async { 8 }).wait(), Ok(8));
        deadlines.resume();
        deadlines.resume();
        assert!(!deadlines.are_suspended());
    }
}
