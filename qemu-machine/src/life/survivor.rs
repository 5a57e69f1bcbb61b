//! Processes that outlive the started one.

use std::fmt;

/// A process that still ran when the started process had ended, such as a QEMU
/// that a wrapper left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Survivor {
    /// Its process id. After its end, another process can have it.
    pub pid: u32,
    /// The name of its program, up to 15 bytes of it (`proc_pid_comm(5)`).
    pub name: String,
    /// What happened to it.
    pub outcome: SurvivorOutcome,
}

/// What happened to a [`Survivor`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
pub enum SurvivorOutcome {
    /// It was killed, and has ended.
    Killed,
    /// It was killed, but has not ended after 10 s: it is blocked in the
    /// kernel.
    Unkillable,
    /// This process has no permission to kill it. It still runs.
    NotPermitted,
}

impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, name, outcome } = self;
        write!(f, "process {pid} ({name}) was left running ")?;
        f.write_str(match outcome {
            SurvivorOutcome::Killed => "and was killed",
            SurvivorOutcome::Unkillable => {
                "and was killed, but has not ended: it is blocked in the kernel"
            }
            SurvivorOutcome::NotPermitted => "and still runs: no permission to kill it",
        })
    }
}
