//! A machine that runs, as `ps` and `status` describe it.

use std::path::Path;
use std::time::UNIX_EPOCH;

use qemu_machine::GuestState;
use qemu_machine::registry::{ConsoleEntry, Entry};
use serde::Serialize;

/// A machine that runs.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct Described {
    pub(in crate::verb) name: String,
    pub(in crate::verb) state: State,
    /// The process of QEMU, or of its wrapper.
    pub(in crate::verb) pid: u32,
    /// The process that owns the machine.
    pub(in crate::verb) owner_pid: u32,
    /// When QEMU started, in seconds since 1970.
    since: f64,
    /// The QEMU binary, as it was given.
    pub(in crate::verb) binary: String,
    pub(in crate::verb) command_line: Vec<String>,
    /// The log of QEMU's own output.
    pub(in crate::verb) log: String,
    /// The transcript of the monitor; null if none is written.
    transcript: Option<String>,
    has_monitor: bool,
    /// Whether there is a port for a guest agent.
    pub(in crate::verb) has_guest_agent: bool,
    pub(in crate::verb) consoles: Vec<DescribedConsole>,
}

/// A console of a machine.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct DescribedConsole {
    /// Its name; null for the first console.
    pub(in crate::verb) name: Option<String>,
    /// Its log; null if none is written.
    log: Option<String>,
}

/// The state of a guest, as one word.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub(in crate::verb) enum State {
    Running,
    Paused,
    /// The guest shut down, and QEMU keeps it.
    ShutDown,
    /// The guest panicked, and QEMU keeps it.
    Panicked,
    /// Its owner does not answer.
    NoAnswer,
    Unknown,
}

impl Described {
    pub(in crate::verb) fn new(entry: &Entry, state: State) -> Self {
        let since = entry.since.duration_since(UNIX_EPOCH);
        Self {
            name: entry.name.clone(),
            state,
            pid: entry.pid,
            owner_pid: entry.owner_pid,
            since: since.unwrap_or_default().as_secs_f64(),
            binary: text(&entry.binary),
            command_line: entry.command_line.clone(),
            log: text(&entry.log),
            transcript: entry.transcript.as_deref().map(text),
            has_monitor: entry.has_monitor,
            has_guest_agent: entry.has_guest_agent,
            consoles: entry.consoles.iter().map(DescribedConsole::from).collect(),
        }
    }
}

impl From<&ConsoleEntry> for DescribedConsole {
    fn from(console: &ConsoleEntry) -> Self {
        Self {
            name: console.name.clone(),
            log: console.log.as_deref().map(text),
        }
    }
}

impl State {
    pub(in crate::verb) fn of(guest: &GuestState) -> Self {
        match guest {
            GuestState::Running => Self::Running,
            GuestState::Paused { .. } => Self::Paused,
            GuestState::ShutDown { .. } => Self::ShutDown,
            GuestState::Panicked { .. } => Self::Panicked,
            _ => Self::Unknown,
        }
    }

    pub(in crate::verb) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::ShutDown => "shut-down",
            Self::Panicked => "panicked",
            Self::NoAnswer => "no-answer",
            Self::Unknown => "unknown",
        }
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
