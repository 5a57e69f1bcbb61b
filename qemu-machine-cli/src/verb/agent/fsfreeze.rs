//! `agent fsfreeze`: the guest's file systems, frozen for a backup or trimmed.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use qemu_machine::Wait;
use qemu_machine::qmp::agent::{
    GuestAgent, GuestFsfreezeFreeze, GuestFsfreezeStatus, GuestFsfreezeThaw, GuestFstrim,
};
use serde::Serialize;

use super::Output;
use crate::failure::Failure;
use crate::output;
use crate::verb::qmp::failed;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Fsfreeze {
    Status,
    Freeze,
    Thaw,
    Trim,
}

/// Does the task, and prints what was done.
pub(super) fn run(
    agent: &GuestAgent,
    task: Fsfreeze,
    time: Duration,
    as_json: bool,
) -> Result<(), Failure> {
    let done = match task {
        Fsfreeze::Status => {
            let state = agent.execute(GuestFsfreezeStatus).timeout(time).wait();
            let status = state.map_err(failed)?;
            Done::Status { status }
        }
        Fsfreeze::Freeze => {
            let count = agent.execute(GuestFsfreezeFreeze).timeout(time).wait();
            let frozen = count.map_err(failed)?;
            Done::Frozen { frozen }
        }
        Fsfreeze::Thaw => {
            let count = agent.execute(GuestFsfreezeThaw).timeout(time).wait();
            let thawed = count.map_err(failed)?;
            Done::Thawed { thawed }
        }
        Fsfreeze::Trim => {
            let trimmed = agent.execute(GuestFstrim).timeout(None).wait();
            let systems = trimmed.map_err(failed)?.into_iter().map(|it| Trimmed {
                path: it.path,
                bytes: it.trimmed_bytes,
                error: it.error,
            });
            Done::Trimmed {
                trimmed: systems.collect(),
            }
        }
    };
    let has_failed = match &done {
        Done::Trimmed { trimmed } => trimmed.iter().any(|it| it.error.is_some()),
        _ => false,
    };
    output::print(&Output::Fsfreeze(done), as_json)?;
    if has_failed {
        return Err(Failure::failed("not every file system was trimmed"));
    }
    Ok(())
}

/// What was done to the file systems (`agent ADDRESS fsfreeze`).
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(untagged)]
pub(in crate::verb) enum Done {
    Status {
        /// `thawed` or `frozen`.
        status: String,
    },
    Frozen {
        /// How many file systems are frozen now.
        frozen: u64,
    },
    Thawed {
        /// How many file systems were thawed.
        thawed: u64,
    },
    Trimmed {
        trimmed: Vec<Trimmed>,
    },
}

/// A file system that was trimmed.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct Trimmed {
    /// Where it is mounted.
    path: String,
    /// How many bytes were trimmed, if the guest reports it.
    bytes: Option<u64>,
    /// Why it was not trimmed.
    error: Option<String>,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status { status } => write!(f, "{status}"),
            Self::Frozen { frozen } => write!(f, "{frozen} frozen"),
            Self::Thawed { thawed } => write!(f, "{thawed} thawed"),
            Self::Trimmed { trimmed } => trimmed.iter().try_for_each(|it| writeln!(f, "{it}")),
        }
    }
}

impl fmt::Display for Trimmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.error, self.bytes) {
            (Some(error), _) => write!(f, "{} failed: {error}", self.path),
            (None, Some(bytes)) => write!(f, "{} {bytes} bytes trimmed", self.path),
            (None, None) => write!(f, "{} trimmed", self.path),
        }
    }
}
