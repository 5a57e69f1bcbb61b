//! The ladder of rungs that end a machine, and how they went.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

/// One way to end a machine, softer before harder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum Rung {
    /// Waits until the guest powers off by itself; sends nothing.
    Guest,
    /// Presses the power button of the guest (`system_powerdown`).
    Powerdown,
    /// Asks QEMU to exit (`quit` on the monitor).
    Quit,
    /// Asks the process group of QEMU to end (SIGTERM).
    Terminate,
    /// Kills the process group of QEMU (SIGKILL).
    Kill,
}

/// How one rung went.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct RungReport {
    /// The rung.
    pub rung: Rung,
    /// The time from its start to the end of the machine or to the next rung.
    /// It is measured by the [`Deadlines`](crate::Deadlines) of the machine,
    /// which can be suspended.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
    pub took: Duration,
    /// Its result.
    pub outcome: RungOutcome,
}

/// The result of a rung.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum RungOutcome {
    /// The machine ended.
    Ended,
    /// The machine had not ended at the timeout of the rung.
    TimedOut,
    /// The rung could not be tried, or QEMU refused it. Why, in words.
    Failed(String),
    /// A caller asked for a harder end before the timeout.
    Overtaken,
    /// QEMU paused the guest for good, after it shut down or panicked. So
    /// waiting for it had no point.
    GuestPaused,
}

/// The rungs to try, each with its timeout. The last one kills.
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

/// How long a killed process may take to end. Only a process that is blocked in
/// the kernel takes longer, for instance on a broken disk.
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
            RungOutcome::Ended => write!(f, "{rung}: ended after {took:.1?}"),
            RungOutcome::TimedOut => write!(f, "{rung}: no end within {took:.1?}"),
            RungOutcome::Failed(why) => write!(f, "{rung} failed: {why}"),
            RungOutcome::Overtaken => {
                write!(f, "{rung}: replaced by a harder rung after {took:.1?}")
            }
            RungOutcome::GuestPaused => {
                write!(f, "{rung}: QEMU paused the guest after {took:.1?}")
            }
        }
    }
}
