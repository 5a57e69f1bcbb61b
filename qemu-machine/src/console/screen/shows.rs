//! Waiting for a screen to show something.

use std::fmt;
use std::time::{Duration, Instant};

use qemu_qmp_engine::error_text::Quoted;
use qemu_qmp_engine::{self as engine, Elapsed, operation, timeout_option};

use super::{Screen, Terminal};
use crate::console::buffer::NoMatch;
use crate::console::pattern::{Search, TooComplex};
use crate::console::{Console, ExpectFailure, Pattern, what};
use crate::life::Tails;

/// Waits until a console's screen shows something; made by
/// [`Console::screen_shows`] and [`Console::screen_matches`]. Gives the screen
/// that does.
///
/// It looks at what is shown when it begins, and after each piece of what the
/// console says. Wait for what stays: what is shown and gone again within a
/// piece is not seen. It takes nothing from [`Console::expect`].
///
/// # Errors
/// [`ScreenError`], whose [`failure`](ScreenError::failure) says which.
///
/// # Cancel safety
/// It changes nothing, so it can be dropped at any time.
#[derive(Debug)]
#[must_use = "nothing is waited for until awaited or waited for"]
pub struct ScreenShows {
    console: Console,
    wanted: Wanted,
    timeout: Option<Duration>,
}

enum Wanted {
    Pattern(Pattern),
    Predicate(Box<dyn FnMut(&Screen) -> bool + Send>),
}

/// A screen did not show what was waited for.
#[derive(Clone)]
#[non_exhaustive]
pub struct ScreenError {
    /// The machine's name.
    pub machine: String,
    /// The console's name; `None` for the machine's first one.
    pub console: Option<Box<str>>,
    /// What the screen was to show; `None` where the caller was to tell.
    pub pattern: Option<Pattern>,
    /// What happened instead.
    pub failure: Box<ExpectFailure>,
    /// How long it was waited for.
    pub waited: Duration,
    /// What the screen shows; `None` where there is none.
    pub screen: Option<Box<Screen>>,
    /// The last 64 KiB of what QEMU itself has printed.
    pub output: Box<[u8]>,
}

impl ScreenShows {
    pub(in crate::console) fn pattern(console: Console, pattern: Pattern) -> Self {
        Self::new(console, Wanted::Pattern(pattern))
    }

    pub(in crate::console) fn predicate(
        console: Console,
        predicate: impl FnMut(&Screen) -> bool + Send + 'static,
    ) -> Self {
        Self::new(console, Wanted::Predicate(Box::new(predicate)))
    }

    fn new(console: Console, wanted: Wanted) -> Self {
        let timeout = console.shared.deadlines.limit();
        Self {
            console,
            wanted,
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
            mut wanted,
            timeout,
        } = self;
        let begun = Instant::now();
        let shared = &console.shared;
        let failure = match &shared.terminal {
            None => ExpectFailure::NoConsole {
                reason: "the console was launched without a screen",
            },
            Some(terminal) => {
                let shown = shows(&console, terminal, &mut wanted);
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
            pattern: match wanted {
                Wanted::Pattern(pattern) => Some(pattern),
                Wanted::Predicate(_) => None,
            },
            failure: Box::new(failure),
            waited: begun.elapsed(),
            screen: console.screen().map(Box::new),
            output: shared.output.tail().into(),
        })
    }
}

/// Looks in the caller's own time, so that a predicate is none of the engine's.
async fn shows(
    console: &Console,
    terminal: &Terminal,
    wanted: &mut Wanted,
) -> Result<Screen, ExpectFailure> {
    loop {
        let changed = terminal.changed();
        // Asked first: what is shown before an end is seen after it.
        let nothing_follows = console.lock().nothing_follows();
        let screen = terminal.screen();
        if wanted.is_in(&screen)? {
            return Ok(screen);
        }
        if let Some(reason) = nothing_follows {
            return Err(reason.into());
        }
        changed.await;
        // Before the next look, so that a deadline has its turn in a flood, of
        // which there is always more than was seen.
        engine::yield_now().await;
    }
}

impl Wanted {
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

impl fmt::Debug for Wanted {
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
        let what = what(machine, console.as_deref());
        write!(f, "{what} did not show ")?;
        match pattern {
            Some(pattern) => write!(f, "{}", Quoted(pattern))?,
            None => f.write_str("what was waited for")?,
        }
        write!(f, " ({waited:.1?}): ")?;
        match &**failure {
            ExpectFailure::MachineEnded(report) => write!(f, "{report}"),
            failure => {
                let shown = screen.as_ref().map(|screen| screen.text());
                let shown = shown.unwrap_or_default();
                let tails = Tails {
                    output,
                    console: shown.as_bytes(),
                    named: &[],
                };
                write!(f, "{failure}{tails}")
            }
        }
    }
}

impl std::error::Error for ScreenError {}
