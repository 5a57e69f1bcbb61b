//! A template, as `list`, `show` and `make` describe it.

use std::fmt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use qemu_machine::template::{StoredTemplate, TemplateFacts, TemplateStore};
use serde::Serialize;

use crate::failure::Failure;
use crate::verb::published::{age, in_short};
use crate::verb::run::wakes_by_default;

/// A template.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(in crate::verb) struct DescribedTemplate {
    /// The name that it was made with.
    pub(super) name: Option<String>,
    /// Its key in the store; null for a directory elsewhere.
    pub(super) key: Option<String>,
    path: String,
    /// The disk space that it takes; null for a directory elsewhere.
    pub(super) size_bytes: Option<u64>,
    /// When it was opened last, in seconds since 1970.
    used: Option<f64>,
    /// Whether a process has it open.
    pub(super) is_in_use: Option<bool>,
    /// What it is; null if its description cannot be read.
    machine: Option<FrozenMachine>,
    /// Why no machine can be cloned from it; null if it can.
    problem: Option<String>,
    #[serde(skip)]
    used_at: Option<SystemTime>,
}

/// The machine that was frozen.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FrozenMachine {
    /// The QEMU binary.
    binary: String,
    /// The version of QEMU.
    version: String,
    /// The machine type; null for QEMU's own default.
    machine_type: Option<String>,
    memory_bytes: u64,
    /// The images below its disks.
    disks: Vec<String>,
    has_guest_agent: bool,
    /// When it was frozen, in seconds since 1970.
    made: f64,
    /// Whether `clone` wakes the guest by default.
    wakes: bool,
    #[serde(skip)]
    made_at: SystemTime,
}

impl DescribedTemplate {
    /// One in a store.
    pub(super) fn stored(stored: &StoredTemplate) -> Self {
        let facts = TemplateFacts::read(&stored.path);
        let mut described = match facts {
            Ok(facts) => Self::at(&stored.path, facts),
            Err(error) => Self::unreadable(&stored.path, error.to_string()),
        };
        described.key = Some(stored.key.clone());
        described.size_bytes = Some(stored.size_bytes);
        described.used = Some(seconds(stored.used));
        described.used_at = Some(stored.used);
        described.is_in_use = Some(stored.is_in_use);
        described
    }

    /// A template of a store that the user named.
    pub(in crate::verb) fn in_store(
        store: &TemplateStore,
        path: &Path,
        facts: TemplateFacts,
    ) -> Result<Self, Failure> {
        let stored = store.list().map_err(Failure::failed)?;
        let stored = stored.iter().find(|it| it.path == path);
        Ok(stored.map_or_else(|| Self::at(path, facts), Self::stored))
    }

    /// One in a directory.
    pub(in crate::verb) fn at(path: &Path, facts: TemplateFacts) -> Self {
        let wakes = wakes_by_default(path, &facts);
        let disks = facts.disks.iter();
        let mut described = Self::unreadable(path, String::new());
        described.problem = facts.problem;
        described.name = facts.name;
        described.machine = Some(FrozenMachine {
            binary: facts.binary.to_string_lossy().into_owned(),
            version: facts.version,
            machine_type: facts.machine_type,
            memory_bytes: facts.memory_bytes,
            disks: disks.map(|it| it.to_string_lossy().into_owned()).collect(),
            has_guest_agent: facts.has_guest_agent,
            made: seconds(facts.made),
            wakes,
            made_at: facts.made,
        });
        described
    }

    fn unreadable(path: &Path, problem: String) -> Self {
        Self {
            name: None,
            key: None,
            path: path.to_string_lossy().into_owned(),
            size_bytes: None,
            used: None,
            is_in_use: None,
            machine: None,
            problem: Some(problem),
            used_at: None,
        }
    }

    /// The same, of which people see the key or the path alone.
    pub(in crate::verb) fn as_made(&self) -> Made<'_> {
        Made(self)
    }

    /// A row of the table.
    pub(super) fn row(&self) -> [String; 8] {
        let none = || "-".to_owned();
        let machine = self.machine.as_ref();
        let state = match (&self.problem, self.is_in_use) {
            (Some(_), _) => "unusable",
            (None, Some(true)) => "in-use",
            (None, _) => "ready",
        };
        let key = self.key.as_deref().unwrap_or_default();
        [
            self.name.clone().unwrap_or_else(none),
            key.chars().take(SHORT_KEY).collect(),
            state.to_owned(),
            self.size_bytes.map_or_else(none, mebibytes),
            machine.map_or_else(none, |it| mebibytes(it.memory_bytes)),
            machine.map_or_else(none, |it| in_short(age(it.made_at))),
            self.used_at.map_or_else(none, |it| in_short(age(it))),
            machine.map_or_else(none, |it| it.version.clone()),
        ]
    }
}

impl fmt::Display for DescribedTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, name: &str, value: &str| {
            writeln!(f, "{:<14}{value}", format!("{name}:"))
        };
        line(f, "name", self.name.as_deref().unwrap_or("-"))?;
        if let Some(key) = &self.key {
            line(f, "key", key)?;
        }
        line(f, "path", &self.path)?;
        if let (Some(size), Some(used)) = (self.size_bytes, self.used_at) {
            line(f, "size", &mebibytes(size))?;
            line(f, "last use", &format!("{} ago", in_short(age(used))))?;
        }
        if let Some(is_in_use) = self.is_in_use {
            line(f, "in use", if is_in_use { "yes" } else { "no" })?;
        }
        if let Some(machine) = &self.machine {
            let qemu = format!("{} ({})", machine.binary, machine.version);
            line(f, "QEMU", &qemu)?;
            let kind = machine.machine_type.as_deref();
            line(f, "machine type", kind.unwrap_or("QEMU's default"))?;
            line(f, "memory", &mebibytes(machine.memory_bytes))?;
            for disk in &machine.disks {
                line(f, "disk", disk)?;
            }
            let made = format!("{} ago", in_short(age(machine.made_at)));
            line(f, "made", &made)?;
            let wakes = if machine.wakes { "yes" } else { "no" };
            line(f, "clones wake", wakes)?;
        }
        match &self.problem {
            Some(problem) => line(f, "unusable", problem),
            None => Ok(()),
        }
    }
}

/// A template that was made just now.
#[derive(Serialize)]
pub(in crate::verb) struct Made<'a>(&'a DescribedTemplate);

impl fmt::Display for Made<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.key.as_deref().unwrap_or(&self.0.path))
    }
}

fn seconds(time: SystemTime) -> f64 {
    let since = time.duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// A size for people: `256M`.
pub(super) fn mebibytes(bytes: u64) -> String {
    format!("{}M", bytes.div_ceil(1 << 20))
}

/// As many digits as people tell keys apart by.
const SHORT_KEY: usize = 12;
