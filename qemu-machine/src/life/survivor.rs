//! A process that outlived the one that was started.

use std::fmt;

/// A process that was still running when the process that the launch started
/// had ended, such as a QEMU that a wrapper left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survivor {
    /// Its process id. It may be another process's by now.
    pub pid: u32,
    /// The name of its program, up to 15 bytes of it (`proc_pid_comm(5)`).
    pub name: String,
    /// What became of it.
    pub outcome: SurvivorOutcome,
}

/// What became of a [`Survivor`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SurvivorOutcome {
    /// It was killed, and has ended.
    Killed,
    /// It was killed, but had not ended 10 s later: it waits in the kernel.
    Unkillable,
    /// This process may not kill it. It runs on.
    NotPermitted,
}

impl fmt::Display for Survivor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pid, name, outcome } = self;
        write!(f, "process {pid} ({name}) was left running, ")?;
        f.write_str(match outcome {
            SurvivorOutcome::Killed => "and was killed",
            SurvivorOutcome::Unkillable => "was killed, and has not ended: it waits in the kernel",
            SurvivorOutcome::NotPermitted => "and runs on: this process may not kill it",
        })
    }
}
