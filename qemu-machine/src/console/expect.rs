//! Waits until a console prints a match.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use qemu_qmp::error::ErrorKind;
use qemu_qmp_engine::error_text::Quoted;
use qemu_qmp_engine::{Elapsed, Span, oneshot, operation, timeout_option};

use super::buffer::{Buffer, End, NoMatch};
use super::searches::{FoundSpan, SearchSpec};
use super::{Console, Match, Pattern, subject};
use crate::life::{ExitReport, GuestState, IfPaused, PausedForGood, Tails};
use crate::spec::Noise;

/// Waits for a match; made by [`Console::expect`] and [`Console::expect_any`].
///
/// The first match in the stream wins. It ends as soon as the pattern is
/// satisfied. The operation takes the match: the next search begins at its end.
/// Several operations may wait at a time. Each one searches from the end of
/// the last match that was taken before it began.
///
/// # Errors
/// [`ExpectError`]; its [`failure`](ExpectError::failure) is the reason.
///
/// # Cancel safety
/// If the future is dropped, it takes no match.
#[derive(Debug)]
#[must_use = "nothing is expected until awaited or waited for"]
pub struct Expect {
    console: Console,
    patterns: Vec<Pattern>,
    noise: Noise,
    timeout: Option<Duration>,
}

/// A console did not print a match.
#[derive(Clone)]
#[non_exhaustive]
pub struct ExpectError {
    /// The machine's name.
    pub machine: String,
    /// The console's name; `None` for the machine's first one.
    pub console: Option<Box<str>>,
    /// The patterns; a match of any of them was expected.
    pub patterns: Box<[Pattern]>,
    /// The reason.
    pub failure: Box<ExpectFailure>,
    /// How long the operation waited.
    pub waited: Duration,
    /// The last 4 KiB that the console printed since the last match.
    pub seen: Vec<u8>,
    /// The last 64 KiB that QEMU itself printed.
    pub output: Box<[u8]>,
}

/// Why a wait for a console failed.
#[derive(Clone)]
#[non_exhaustive]
pub enum ExpectFailure {
    /// There was no match before the deadline.
    Timeout {
        /// The deadline.
        limit: Duration,
        /// Whether the guest was running at the deadline.
        guest: GuestState,
    },
    /// QEMU closed the console.
    Closed,
    /// The guest panicked, and QEMU keeps it paused (`-action panic=pause`). It
    /// prints nothing more until it is reset.
    GuestPanicked,
    /// The guest shut down, and QEMU keeps it paused (`-no-shutdown`). It prints
    /// nothing more until it is reset.
    GuestShutDown {
        /// QEMU's reason: `guest-shutdown`.
        reason: String,
    },
    /// The machine ended.
    MachineEnded(Arc<ExitReport>),
    /// The machine has no such console, or this library does not read it.
    NoConsole {
        /// Why not.
        reason: &'static str,
    },
    /// The output kept the search busy with new states, which costs too much:
    /// see [`Pattern::regex`]. Another pattern can still search this output.
    TooComplex,
}

impl fmt::Display for ExpectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout { limit, guest } => {
                write!(f, "no match within {limit:?}{}", IfPaused(guest))
            }
            Self::Closed => f.write_str("QEMU closed the console"),
            Self::GuestPanicked => write!(f, "{}", PausedForGood::Panicked),
            Self::GuestShutDown { reason } => {
                let reason = reason.clone();
                write!(f, "{}", PausedForGood::ShutDown { reason })
            }
            Self::MachineEnded(report) => write!(f, "{report}"),
            Self::NoConsole { reason } => write!(f, "{reason}"),
            Self::TooComplex => {
                f.write_str("the pattern is too complex for this output; use a simpler one")
            }
        }
    }
}

impl Error for ExpectFailure {}

impl ExpectFailure {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Closed | Self::MachineEnded(_) => ErrorKind::Ended,
            Self::GuestPanicked | Self::GuestShutDown { .. } => ErrorKind::Guest,
            Self::NoConsole { .. } => ErrorKind::Unsupported,
            Self::TooComplex => ErrorKind::InvalidInput,
        }
    }
}

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

    /// Skips ANSI escape sequences, such as colours and titles. So a pattern is
    /// found even if sequences split it. The match and the text before it do
    /// not contain them.
    ///
    /// The sequences are those of ECMA-48, with the strings of xterm. Other
    /// control characters, such as a carriage return, are text.
    pub fn past_escapes(mut self) -> Self {
        self.noise.escapes = true;
        self
    }

    /// Skips the lines that a Linux kernel prints in the middle of other output
    /// (`[   12.345678] …`). So a prompt is found even if such a line splits it.
    /// The match and the text before it do not contain these lines.
    ///
    /// Such a line may begin anywhere, and ends at its line end. It begins with
    /// the seconds since boot, in brackets and in at least five columns. A level
    /// (`<6>`) may come before them.
    ///
    /// Bytes that may begin such a line are held back until the next byte
    /// decides, or until the console ends or the deadline passes. So a prompt
    /// that is only `[` is found late.
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

    /// Skips nothing, even if the console's configuration says otherwise.
    pub fn verbatim(mut self) -> Self {
        self.noise = Noise::default();
        self
    }
}

timeout_option!(Expect, timeout);

operation!(Expect => Result<Match, ExpectError>);

impl Expect {
    async fn run(self) -> Result<Match, ExpectError> {
        let console = self.console.clone();
        let span = Span::console(|| console.subject(), || "expect".to_owned());
        span.around(self.search()).await
    }

    async fn search(self) -> Result<Match, ExpectError> {
        let Self {
            console,
            patterns,
            noise,
            timeout,
        } = self;
        let begun = Instant::now();
        let spec = SearchSpec {
            patterns: patterns.clone(),
            noise,
        };
        search(&console, spec, timeout)
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
    }
}

/// Locks the buffer, and updates it with the current state of the guest.
fn lock_current(console: &Console) -> MutexGuard<'_, Buffer> {
    let can_resume = console.shared.observed.paused_for_good().is_none();
    let mut buffer = console.lock();
    if can_resume {
        buffer.guest_resumed();
    }
    buffer
}

impl Console {
    /// At most `count` bytes from this position on, where they begin, and why
    /// nothing more follows them, if so.
    pub(super) fn look_from(
        &self,
        position: u64,
        count: usize,
    ) -> (Vec<u8>, u64, Option<ExpectFailure>) {
        let buffer = lock_current(self);
        let (piece, begin) = buffer.since(position, count);
        let ended = buffer.nothing_follows().map(ExpectFailure::from);
        (piece, begin, ended)
    }
}

async fn search(
    console: &Console,
    spec: SearchSpec,
    timeout: Option<Duration>,
) -> Result<Match, ExpectFailure> {
    let (waiter, answer) = oneshot::channel();
    let found = lock_current(console).search(spec, waiter);
    let answer = match found {
        Err(at_once) => at_once,
        Ok(id) => {
            let _forget = Forget { console, id };
            let deadlines = &console.shared.deadlines;
            match deadlines.timeout(timeout, answer).await {
                Ok(Ok(answer)) => answer,
                // The buffer answers every search before it is dropped.
                Ok(Err(_)) => Err(NoMatch::Ended(End::Closed)),
                // Silence decides about the last bytes.
                Err(Elapsed(limit)) => {
                    let found = console.lock().give_up(id);
                    let guest = console.shared.observed.guest();
                    found.ok_or(ExpectFailure::Timeout { limit, guest })?
                }
            }
        }
    };
    let found: FoundSpan = answer?;
    console.lock().take_until(found.end());
    Ok(found.into_match())
}

/// Removes a search from the buffer when its waiter is dropped.
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
            NoMatch::Paused(PausedForGood::Panicked) => Self::GuestPanicked,
            NoMatch::Paused(PausedForGood::ShutDown { reason }) => Self::GuestShutDown { reason },
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
            [] => "a match, as no pattern was given".to_owned(),
            some => some.join(" or "),
        };
        write!(
            f,
            "{} did not print {patterns} ({waited:.1?}): {failure}",
            subject(machine, console.as_deref())
        )?;
        // The report of the machine's end has its own tails.
        if let ExpectFailure::MachineEnded(_) = &**failure {
            return Ok(());
        }
        let tails = Tails {
            output,
            console: seen,
            named: &[],
        };
        write!(f, "{tails}")
    }
}

impl Error for ExpectError {}

impl ExpectError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }
}
