//! Waits until a screen shows something.

use std::error::Error;
use std::fmt;
use std::time::{Duration, Instant};

use qemu_qmp::error::ErrorKind;
use qemu_qmp_engine::error_text::Quoted;
use qemu_qmp_engine::{self as engine, Elapsed, operation, timeout_option};

use super::{Screen, Terminal};
use crate::console::buffer::NoMatch;
use crate::console::pattern::{Search, TooComplex};
use crate::console::{Console, ExpectFailure, Pattern, subject};
use crate::life::Tails;

/// Waits until a console's screen shows something, and returns that screen; made
/// by [`Console::screen_shows`] and [`Console::screen_matches`].
///
/// It looks at the screen when it begins, and after each piece of output. Wait
/// for text that stays: it misses text that comes and goes within one piece. It
/// takes no output from [`Console::expect`].
///
/// # Errors
/// [`ScreenError`]; its [`failure`](ScreenError::failure) is the reason.
///
/// # Cancel safety
/// It can be dropped at any time, as it changes nothing.
#[derive(Debug)]
#[must_use = "nothing is waited for until awaited or waited for"]
pub struct ScreenShows {
    console: Console,
    condition: Condition,
    timeout: Option<Duration>,
}

enum Condition {
    Pattern(Pattern),
    Predicate(Box<dyn FnMut(&Screen) -> bool + Send>),
}

/// A screen did not show the wanted text.
#[derive(Clone)]
#[non_exhaustive]
pub struct ScreenError {
    /// The machine's name.
    pub machine: String,
    /// The console's name; `None` for the machine's first one.
    pub console: Option<Box<str>>,
    /// The wanted pattern; `None` if the caller gave a predicate.
    pub pattern: Option<Pattern>,
    /// The reason.
    pub failure: Box<ExpectFailure>,
    /// How long the operation waited.
    pub waited: Duration,
    /// The screen; `None` if the console has none.
    pub screen: Option<Box<Screen>>,
    /// The last 64 KiB that QEMU itself printed.
    pub output: Box<[u8]>,
}

impl ScreenShows {
    pub(in crate::console) fn pattern(console: Console, pattern: Pattern) -> Self {
        Self::new(console, Condition::Pattern(pattern))
    }

    pub(in crate::console) fn predicate(
        console: Console,
        predicate: impl FnMut(&Screen) -> bool + Send + 'static,
    ) -> Self {
        Self::new(console, Condition::Predicate(Box::new(predicate)))
    }

    fn new(console: Console, condition: Condition) -> Self {
        let timeout = console.shared.deadlines.limit();
        Self {
            console,
            condition,
            timeout,
        }
    }
}

timeout_option!(ScreenShows, timeout);

operation!(ScreenShows => Result<Screen, ScreenError>);

impl ScreenShows {
    async fn run(self) -> Result<Screen, ScreenError> {
        let Self {
            console,
            mut condition,
            timeout,
        } = self;
        let begun = Instant::now();
        let shared = &console.shared;
        let failure = match &shared.terminal {
            None => ExpectFailure::NoConsole {
                reason: "the console was launched without a screen; add one by \
                         `ConsoleConfig::screen`",
            },
            Some(terminal) => {
                let shown = shows(&console, terminal, &mut condition);
                match shared.deadlines.timeout(timeout, shown).await {
                    Ok(Ok(screen)) => return Ok(screen),
                    Ok(Err(failure)) => failure,
                    Err(Elapsed(limit)) => ExpectFailure::Timeout {
                        limit,
                        guest: shared.observed.guest(),
                    },
                }
            }
        };
        Err(ScreenError {
            machine: shared.machine.clone(),
            console: shared.name.as_deref().map(Box::from),
            pattern: match condition {
                Condition::Pattern(pattern) => Some(pattern),
                Condition::Predicate(_) => None,
            },
            failure: Box::new(failure),
            waited: begun.elapsed(),
            screen: console.screen().map(Box::new),
            output: shared.output.tail().into(),
        })
    }
}

/// Looks on the caller's thread, so that the engine never runs a predicate.
async fn shows(
    console: &Console,
    terminal: &Terminal,
    condition: &mut Condition,
) -> Result<Screen, ExpectFailure> {
    loop {
        let changed = terminal.changed();
        // Asked first, so that a screen from before the end still counts.
        let nothing_follows = console.lock().nothing_follows();
        let screen = terminal.screen();
        if condition.is_in(&screen)? {
            return Ok(screen);
        }
        if let Some(reason) = nothing_follows {
            return Err(reason.into());
        }
        changed.await;
        // A flood always has more output to look at. So the deadline gets its turn
        // before the next look.
        engine::yield_now().await;
    }
}

impl Condition {
    fn is_in(&mut self, screen: &Screen) -> Result<bool, NoMatch> {
        match self {
            Self::Pattern(pattern) => {
                is_in(pattern, &screen.text()).map_err(|TooComplex| NoMatch::TooComplex)
            }
            Self::Predicate(predicate) => Ok(predicate(screen)),
        }
    }
}

fn is_in(pattern: &Pattern, text: &str) -> Result<bool, TooComplex> {
    let mut search = Search::new(pattern)?;
    Ok(search.feed(text.as_bytes())?.is_some() || search.matches_at_end()?)
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => pattern.fmt(f),
            Self::Predicate(_) => f.write_str("Predicate"),
        }
    }
}

impl fmt::Display for ScreenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            machine,
            console,
            pattern,
            failure,
            waited,
            screen,
            output,
        } = self;
        let subject = subject(machine, console.as_deref());
        write!(f, "{subject} did not show ")?;
        match pattern {
            Some(pattern) => write!(f, "{}", Quoted(pattern))?,
            None => f.write_str("a screen that the predicate accepts")?,
        }
        write!(f, " ({waited:.1?}): {failure}")?;
        // The report of the machine's end has its own tails.
        if let ExpectFailure::MachineEnded(_) = &**failure {
            return Ok(());
        }
        let shown = screen.as_ref().map(|screen| screen.text());
        let shown = shown.unwrap_or_default();
        let tails = Tails {
            output,
            console: shown.as_bytes(),
            named: &[],
        };
        write!(f, "{tails}")
    }
}

impl Error for ScreenError {}

impl ScreenError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }
}
