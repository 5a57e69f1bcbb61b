//! Waiting for a console to say something.

use crate::spec::Noise;
use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use qemu_qmp_engine::error_text::Quoted;
use qemu_qmp_engine::{Elapsed, oneshot, timeout_option};

use super::buffer::{Buffer, End, NoMatch};
use super::searches::{Found, Sought};
use super::{Console, Match, Pattern};
use crate::life::{ExitReport, Tails};
use crate::life::{GuestState, IfPaused, PausedForGood};

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
    noise: Noise,
    timeout: Option<Duration>,
}

/// A console did not say what was expected.
#[derive(Clone)]
#[non_exhaustive]
pub struct ExpectError {
    /// The machine's name.
    pub machine: String,
    /// The console's name; `None` for the machine's first one.
    pub console: Option<Box<str>>,
    /// What was expected, any of these.
    pub patterns: Box<[Pattern]>,
    /// What happened instead.
    pub failure: Box<ExpectFailure>,
    /// How long it was waited for.
    pub waited: Duration,
    /// The last 4 KiB of what the console said since the last match.
    pub seen: Vec<u8>,
    /// The last 64 KiB of what QEMU itself has printed.
    pub output: Box<[u8]>,
}

/// What ended the waiting for a console.
#[derive(Clone)]
#[non_exhaustive]
pub enum ExpectFailure {
    /// It did not come within the deadline.
    Timeout {
        /// The deadline.
        limit: Duration,
        /// Whether the guest ran then.
        guest: GuestState,
    },
    /// QEMU closed the console.
    Closed,
    /// The guest has panicked, and QEMU holds it, as it was told to
    /// (`-action panic=pause`). It will say nothing more until it is reset.
    GuestPanicked,
    /// The guest has shut down, and QEMU holds it, as it was told to
    /// (`-no-shutdown`). It will say nothing more until it is reset.
    GuestShutDown {
        /// QEMU's reason: `guest-shutdown`.
        reason: String,
    },
    /// The machine ended.
    MachineEnded(Arc<ExitReport>),
    /// The machine has no console to be expected of.
    NoConsole {
        /// Why not.
        reason: &'static str,
    },
    /// What came led the search on and on to what it had not met before, which
    /// costs too much: see [`Pattern::regex`]. It is still there for another
    /// pattern.
    TooComplex,
}

impl fmt::Display for ExpectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { limit, guest } => {
                write!(f, "it did not come within {limit:?}{}", IfPaused(guest))
            }
            Self::Closed => f.write_str("the console was closed"),
            Self::GuestPanicked => write!(f, "{}", PausedForGood::Panicked),
            Self::GuestShutDown { reason } => {
                let reason = reason.clone();
                write!(f, "{}", PausedForGood::ShutDown { reason })
            }
            Self::MachineEnded(report) => write!(f, "{report}"),
            Self::NoConsole { reason } => write!(f, "{reason}"),
            Self::TooComplex => {
                f.write_str("the pattern is too complex to be searched for in what came")
            }
        }
    }
}

impl Error for ExpectFailure {}

impl Expect {
    pub(super) fn new(console: Console, patterns: Vec<Pattern>) -> Self {
        let timeout = console.shared.deadlines.limit();
        let noise = console.shared.noise;
        Self {
            console,
            patterns,
            noise,
            timeout,
        }
    }

    /// Looks past ANSI escape sequences, such as colours and titles, so that a
    /// pattern is found that these split. They are left out of the match and of
    /// what is before it.
    ///
    /// What is meant are the sequences of ECMA-48, with the strings of xterm;
    /// other control characters, such as a carriage return, are text.
    pub fn past_escapes(mut self) -> Self {
        self.noise.escapes = true;
        self
    }

    /// Looks past the lines that a Linux kernel prints in the midst of what
    /// others write (`[   12.345678] …`), so that a prompt is found that such a
    /// line splits. They are left out of the match and of what is before it.
    ///
    /// Such a line begins with the seconds since boot, in brackets and in five
    /// columns or more, after a level (`<6>`) or not, anywhere in a line of
    /// others, and goes to its line end. What may have begun one is text as soon
    /// as it can be told that it has not: by the next byte, the end of the
    /// console, or the deadline. So a prompt that is but `[` is found late.
    ///
    /// # Examples
    /// ```no_run
    /// # use qemu_machine::{Machine, Wait};
    /// # fn login(vm: &Machine) -> Result<(), Box<dyn std::error::Error>> {
    /// // Finds `log[    7.654321] usb 1-1: new device\r\nin: `, too.
    /// vm.console().expect("login: ").past_kernel_lines().past_escapes().wait()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn past_kernel_lines(mut self) -> Self {
        self.noise.kernel_lines = true;
        self
    }

    /// Looks past nothing, whatever the console was configured to.
    pub fn verbatim(mut self) -> Self {
        self.noise = Noise::default();
        self
    }
}

timeout_option!(Expect, timeout);

impl IntoFuture for Expect {
    type Output = Result<Match, ExpectError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self {
                console,
                patterns,
                noise,
                timeout,
            } = self;
            let begun = Instant::now();
            let sought = Sought {
                patterns: patterns.clone(),
                noise,
            };
            search(&console, sought, timeout)
                .await
                .map_err(|failure| ExpectError {
                    machine: console.shared.machine.clone(),
                    console: console.shared.name.as_deref().map(Into::into),
                    patterns: patterns.into(),
                    failure: Box::new(failure),
                    waited: begun.elapsed(),
                    seen: console.lock().last_untaken(super::handle::REPORTED_BYTES),
                    output: console.shared.output.tail().into(),
                })
        })
    }
}

/// The buffer, with what has been heard of the guest by now.
fn lock_anew(console: &Console) -> MutexGuard<'_, Buffer> {
    let goes_on = console.shared.observed.paused_for_good().is_none();
    let mut buffer = console.lock();
    if goes_on {
        buffer.guest_goes_on();
    }
    buffer
}

async fn search(
    console: &Console,
    sought: Sought,
    timeout: Option<Duration>,
) -> Result<Match, ExpectFailure> {
    let (waiter, answer) = oneshot::channel();
    let found = lock_anew(console).search(sought, waiter);
    let answer = match found {
        Err(at_once) => at_once,
        Ok(id) => {
            let _forget = Forget { console, id };
            let deadlines = &console.shared.deadlines;
            match deadlines.timeout(timeout, answer).await {
                Ok(Ok(answer)) => answer,
                // The buffer answers every search before it goes.
                Ok(Err(_)) => Err(NoMatch::Ended(End::Closed)),
                // What has come last is followed by silence.
                Err(Elapsed(limit)) => {
                    let found = console.lock().give_up(id);
                    let guest = console.shared.observed.guest();
                    found.ok_or(ExpectFailure::Timeout { limit, guest })?
                }
            }
        }
    };
    let found: Found = answer?;
    console.lock().take_until(found.end());
    Ok(found.into_match())
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
            NoMatch::Held(PausedForGood::Panicked) => Self::GuestPanicked,
            NoMatch::Held(PausedForGood::ShutDown { reason }) => Self::GuestShutDown { reason },
            NoMatch::TooComplex => Self::TooComplex,
        }
    }
}

impl fmt::Display for ExpectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            machine,
            console,
            patterns,
            failure,
            waited,
            seen,
            output,
        } = self;
        let patterns: Vec<String> = patterns.iter().map(|it| Quoted(it).to_string()).collect();
        let patterns = match &patterns[..] {
            [] => "anything, as no pattern was given".to_owned(),
            some => some.join(" or "),
        };
        write!(
            f,
            "{} did not say {patterns} ({waited:.1?}): ",
            super::what(machine, console.as_deref())
        )?;
        // A report of the machine's end has its own.
        if let ExpectFailure::MachineEnded(report) = &**failure {
            return write!(f, "{report}");
        }
        let tails = Tails {
            output,
            console: seen,
            named: &[],
        };
        write!(f, "{failure}{tails}")
    }
}

impl std::error::Error for ExpectError {}
