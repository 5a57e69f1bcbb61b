//! The means of ending a machine, in their order, and how they went.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// One means of ending a machine, softer before harder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rung {
    /// Waits for the guest to power itself off; sends nothing.
    Guest,
    /// Presses the guest's power button (`system_powerdown`).
    Powerdown,
    /// Tells QEMU to end (`quit`).
    Quit,
    /// Asks QEMU's process group to end (SIGTERM).
    Terminate,
    /// Ends QEMU's process group (SIGKILL).
    Kill,
}

/// How one rung went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RungReport {
    /// Which it was.
    pub rung: Rung,
    /// From when it was tried to when the machine ended, or the next was; by
    /// the clock of the machine's [`Deadlines`](crate::Deadlines), which may
    /// have stood still meanwhile.
    pub took: Duration,
    /// What came of it.
    pub outcome: RungOutcome,
}

/// What came of a rung.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RungOutcome {
    /// The machine ended.
    Ended,
    /// The machine had not ended when the rung's time was up.
    TimedOut,
    /// It could not be tried, or QEMU refused.
    Failed(String),
    /// Somebody asked for a harder end meanwhile.
    Overtaken,
    /// The guest is off or has panicked, and QEMU holds it: nothing was left
    /// to wait for.
    GuestPaused,
}

/// The rungs to climb, each with how long it may take. The last one kills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ladder {
    pub(super) rungs: VecDeque<(Rung, Option<Duration>)>,
}

impl Ladder {
    /// `rungs` in order, then SIGKILL.
    pub(crate) fn new(rungs: impl IntoIterator<Item = (Rung, Option<Duration>)>) -> Self {
        let softer = rungs.into_iter().filter(|&(rung, _)| rung != Rung::Kill);
        Self {
            rungs: softer.chain([(Rung::Kill, Some(KILL_LIMIT))]).collect(),
        }
    }

    pub(crate) fn kill() -> Self {
        Self::new([])
    }

    pub(super) fn first(&self) -> Rung {
        self.rungs.front().map_or(Rung::Kill, |&(rung, _)| rung)
    }
}

/// How long a killed process may take to end. Only one that waits in the
/// kernel, for a broken disk for instance, takes longer.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(60);

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Guest => "waiting for the guest",
            Self::Powerdown => "system_powerdown",
            Self::Quit => "quit",
            Self::Terminate => "SIGTERM",
            Self::Kill => "SIGKILL",
        })
    }
}

impl fmt::Display for RungReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rung,
            took,
            outcome,
        } = self;
        match outcome {
            RungOutcome::Ended => write!(f, "{rung}: it ended after {took:.1?}"),
            RungOutcome::TimedOut => write!(f, "{rung} did not end it in {took:.1?}"),
            RungOutcome::Failed(why) => write!(f, "{rung} failed: {why}"),
            RungOutcome::Overtaken => write!(f, "{rung} was overtaken after {took:.1?}"),
            RungOutcome::GuestPaused => {
                write!(f, "{rung} ended after {took:.1?}: QEMU holds the guest")
            }
        }
    }
}
