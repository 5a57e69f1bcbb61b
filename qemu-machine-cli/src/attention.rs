//! Waits that end early on a call: a signal from a person, or a failed write to
//! standard output.
//!
//! ```text
//! signal --thread--> call --+
//! tee's writer -----> call --+--> Calls --> the wait under way ends, its operation is dropped
//! ```
//!
//! Each call ends one wait. So the first Ctrl-C ends what is under way, and the
//! second ends the soft end of the machine.
//!
//! `signal-hook` receives the signals. Its self-pipe needs no unsafe code here, and
//! it keeps the handlers of others.

use std::collections::VecDeque;
use std::future::{Future, IntoFuture, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::thread;

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::unread;
use qemu_machine::Wait;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Receives the calls. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Attention(Arc<Mutex<Calls>>);

/// Why a wait ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    /// This signal came.
    Signal(i32),
    /// Standard output cannot be written: the kind of the failure, and its text.
    Output(io::ErrorKind, String),
    /// Somebody unmounted the file system that this process serves.
    Unmounted,
}

#[derive(Default)]
struct Calls {
    queue: VecDeque<Call>,
    waiting: Option<Waker>,
    /// How many times SIGINT was raised here, and is no call.
    raised: usize,
}

impl Attention {
    /// Begins to receive SIGINT, SIGTERM and SIGHUP. A signal that this process
    /// ignores from its start (`nohup`, a script's background) stays ignored.
    pub(crate) fn to_signals() -> io::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self::to_all_but(ignored(&status))
    }

    /// Begins to receive the signals that are not in this set.
    fn to_all_but(ignored: u64) -> io::Result<Self> {
        let attention = Self::default();
        let wanted = [SIGINT, SIGTERM, SIGHUP];
        let wanted = wanted.into_iter().filter(|it| ignored >> (it - 1) & 1 == 0);
        let mut signals = Signals::new(wanted)?;
        let caller = attention.clone();
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    caller.call(Call::Signal(signal));
                }
            })?;
        Ok(attention)
    }

    /// The same, for a verb.
    pub(crate) fn of_verb() -> Result<Self, Failure> {
        Self::to_signals().map_err(|error| {
            Failure::new(Outcome::Broken, format!("cannot wait for signals: {error}"))
        })
    }

    /// Waits for the operation, or for a call, which drops the operation.
    pub(crate) fn wait<O: IntoFuture>(&self, operation: O) -> Result<O::Output, Call> {
        let mut operation = pin!(operation.into_future());
        let waited = poll_fn(|context| {
            let mut calls = self.lock();
            if let Some(call) = calls.queue.pop_front() {
                return Poll::Ready(Err(call));
            }
            calls.waiting = Some(context.waker().clone());
            drop(calls);
            operation.as_mut().poll(context).map(Ok)
        });
        waited.wait()
    }

    /// Waits until there is a call, and leaves it to the next wait.
    pub(crate) fn called(&self) -> impl Future<Output = ()> + Send + 'static {
        let attention = self.clone();
        poll_fn(move |context| {
            if attention.watch(Some(context.waker().clone())) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
    }

    /// The next call that nobody has received.
    pub(crate) fn take(&self) -> Option<Call> {
        self.lock().queue.pop_front()
    }

    /// Whether a call has come that nobody has received.
    pub(crate) fn has_calls(&self) -> bool {
        !self.lock().queue.is_empty()
    }

    /// Wakes this at the next call, for a wait that is not [`wait`](Self::wait);
    /// `None` ends that. Returns [`has_calls`](Self::has_calls).
    pub(crate) fn watch(&self, waker: Option<Waker>) -> bool {
        let mut calls = self.lock();
        calls.waiting = waker;
        !calls.queue.is_empty()
    }

    /// Raises SIGINT, which ends a wait that is not [`wait`](Self::wait), such as
    /// that of a line editor. No call comes from it.
    pub(crate) fn raise(&self) {
        // The handler runs in this thread, and does not lock.
        let mut calls = self.lock();
        calls.raised += 1;
        let _ = signal_hook::low_level::raise(SIGINT);
    }

    /// The other wait received what [`raise`](Self::raise) raised.
    pub(crate) fn forget_raised(&self) {
        self.lock().raised = 0;
    }

    /// Ends the wait under way, or the next one.
    pub(crate) fn call(&self, call: Call) {
        let mut calls = self.lock();
        if call == Call::Signal(SIGINT) && calls.raised > 0 {
            calls.raised -= 1;
            return;
        }
        calls.queue.push_back(call);
        let waiting = calls.waiting.take();
        drop(calls);
        unread::hurry();
        if let Some(waker) = waiting {
            #[expect(
                clippy::disallowed_methods,
                reason = "the waker is that of `wait` or `watch`, which does not panic"
            )]
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The set of ignored signals in `/proc/PID/status`, the first in the lowest
/// bit.
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let set = line.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn a_call_ends_one_wait_and_the_next_goes_on() {
        let attention = Attention::default();
        assert_eq!(attention.wait(ready(1)), Ok(1));
        let caller = attention.clone();
        let thread = thread::spawn(move || caller.call(Call::Signal(2)));
        let ended = attention.wait(pending::<()>());
        assert_eq!(ended, Err(Call::Signal(2)));
        thread.join().unwrap();
        assert_eq!(attention.wait(ready(2)), Ok(2));
    }

    #[test]
    fn a_call_that_came_before_ends_the_next_wait() {
        let attention = Attention::default();
        attention.call(Call::Signal(15));
        attention.called().wait();
        assert_eq!(attention.wait(ready(1)), Err(Call::Signal(15)));
        assert_eq!(attention.take(), None);
    }

    #[test]
    fn what_is_raised_here_is_no_call() {
        // Also where a shell has started the tests with SIGINT ignored.
        let attention = Attention::to_all_but(0).unwrap();
        attention.raise();
        let raised = || attention.lock().raised;
        // The thread of the signals receives it.
        while raised() > 0 {
            thread::yield_now();
        }
        assert_eq!(attention.take(), None);
        attention.call(Call::Signal(SIGINT));
        assert_eq!(attention.take(), Some(Call::Signal(SIGINT)));
    }

    #[test]
    fn the_ignored_signals_are_read_from_the_status() {
        let status = "Name:\tx\nSigBlk:\t0\nSigIgn:\t0000000000001001\nSigCgt:\t2\n";
        assert_eq!(ignored(status), 1 | 1 << 12);
        assert_eq!(ignored(""), 0);
    }
}
