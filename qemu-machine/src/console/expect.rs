//! Waiting for a console to say something.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use qemu_qmp::engine::Elapsed;
use thiserror::Error;
use tokio::sync::oneshot;

use super::buffer::{End, Found, NoMatch};
use super::{Console, Match, Pattern};
use crate::report::{ExitReport, Tails};

/// Waits for a match; made by [`Console::expect`] and [`Console::expect_any`].
///
/// The first match in the stream wins, and ends as soon as the pattern is
/// satisfied. Taking it moves the place where the next search begins to its
/// end. Several may wait at a time; each searches from where the last match
/// ended that was taken before it began.
///
/// # Errors
/// [`ExpectError`], whose [`failure`](ExpectError::failure) says which.
///
/// # Cancel safety
/// If the future is dropped, nothing is taken.
#[derive(Debug)]
#[must_use = "nothing is expected until awaited or waited for"]
pub struct Expect {
    console: Console,
    patterns: Vec<Pattern>,
    timeout: Option<Duration>,
}

/// A console did not say what was expected.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExpectError {
    /// The machine's name.
    pub machine: String,
    /// What was expected, any of these.
    pub patterns: Vec<Pattern>,
    /// What happened instead.
    pub failure: Box<ExpectFailure>,
    /// How long it was waited for.
    pub waited: Duration,
    /// The last 4 KiB of what the console said since the last match.
    pub seen: Vec<u8>,
    /// The last 64 KiB of what QEMU itself has printed.
    pub output: Vec<u8>,
}

/// What ended the waiting for a console.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum ExpectFailure {
    /// It did not come within the deadline.
    #[error("it did not come within {limit:?}")]
    Timeout {
        /// The deadline.
        limit: Duration,
    },
    /// QEMU closed the console.
    #[error("the console was closed")]
    Closed,
    /// The guest has panicked, and QEMU holds it, as it was told to
    /// (`-action panic=pause`). It will say nothing more until it is reset.
    #[error("the guest has panicked, and QEMU holds it")]
    GuestPanicked,
    /// The machine ended.
    #[error("{0}")]
    MachineEnded(Arc<ExitReport>),
    /// The machine has no console to be expected of.
    #[error("{reason}")]
    NoConsole {
        /// Why not.
        reason: &'static str,
    },
    /// The pattern needs more memory than a search may have.
    #[error("the pattern is too complex to be searched for in a stream")]
    TooComplex,
}

impl Expect {
    pub(super) fn new(console: Console, patterns: Vec<Pattern>) -> Self {
        let timeout = console.shared.deadlines.limit();
        Self {
            console,
            patterns,
            timeout,
        }
    }

    /// Waits no longer than this instead of 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Waits as long as the console lives.
    pub fn no_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }
}

impl IntoFuture for Expect {
    type Output = Result<Match, ExpectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + std::marker::Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self {
                console,
                patterns,
                timeout,
            } = self;
            let begun = Instant::now();
            search(&console, patterns.clone(), timeout)
                .await
                .map_err(|failure| ExpectError {
                    machine: console.shared.machine.clone(),
                    patterns,
                    failure: Box::new(failure),
                    waited: begun.elapsed(),
                    seen: console.lock().last_untaken(super::REPORTED_BYTES),
                    output: console.shared.output.tail(),
                })
        })
    }
}

async fn search(
    console: &Console,
    patterns: Vec<Pattern>,
    timeout: Option<Duration>,
) -> Result<Match, ExpectFailure> {
    let (waiter, answer) = oneshot::channel();
    let found = console.lock().search(patterns, waiter);
    let answer = match found {
        Err(at_once) => at_once,
        Ok(id) => {
            let _forget = Forget { console, id };
            let deadlines = &console.shared.deadlines;
            match deadlines.timeout(timeout, answer).await {
                Ok(Ok(answer)) => answer,
                // The buffer answers every search before it goes.
                Ok(Err(_)) => Err(NoMatch::Ended(End::Closed)),
                Err(Elapsed(limit)) => {
                    return Err(ExpectFailure::Timeout { limit });
                }
            }
        }
    };
    let (found, end): Found = answer?;
    console.lock().take_until(end);
    Ok(found)
}

/// Takes a search out of the books when nobody waits for it any more.
struct Forget<'a> {
    console: &'a Console,
    id: u64,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.console.lock().forget(self.id);
    }
}

impl From<NoMatch> for ExpectFailure {
    fn from(reason: NoMatch) -> Self {
        match reason {
            NoMatch::Ended(End::Absent(reason)) => Self::NoConsole { reason },
            NoMatch::Ended(End::Closed) => Self::Closed,
            NoMatch::Ended(End::MachineEnded(report)) => Self::MachineEnded(report),
            NoMatch::GuestPanicked => Self::GuestPanicked,
            NoMatch::TooComplex => Self::TooComplex,
        }
    }
}

impl fmt::Display for ExpectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            machine,
            patterns,
            failure,
            waited,
            seen,
            output,
        } = self;
        let patterns: Vec<String> = patterns.iter().map(|it| format!("'{it}'")).collect();
        let patterns = patterns.join(" or ");
        write!(
            f,
            "the console of machine '{machine}' did not say {patterns} ({waited:.1?}): "
        )?;
        // A report of the machine's end has its own.
        match &**failure {
            ExpectFailure::MachineEnded(report) => write!(f, "{report}"),
            _ => write!(
                f,
                "{failure}{}",
                Tails {
                    output,
                    console: seen
                }
            ),
        }
    }
}

impl std::error::Error for ExpectError {}
