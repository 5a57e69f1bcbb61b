//! What a machine's folder says about the machine: its file `machine.json`.
//!
//! Text that is not UTF-8 is written with U+FFFD in place of the bytes.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::process::place::absolute;

/// What a machine's owner wrote about it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// The machine's name.
    pub name: String,
    /// The process that owns the machine.
    pub owner_pid: u32,
    /// Whether that process ends when the machine has ended, as it said by
    /// [`MachineBuilder::ends_owner`](crate::MachineBuilder::ends_owner).
    pub ends_owner: bool,
    /// The process of QEMU, or of its wrapper.
    pub pid: u32,
    /// When that process started.
    pub since: SystemTime,
    /// The QEMU binary, as it was given.
    pub binary: PathBuf,
    /// The command line, with a wrapper.
    pub command_line: Vec<String>,
    /// The log of QEMU's own output.
    pub log: PathBuf,
    /// The transcript of the monitor; `None` if none is written.
    pub transcript: Option<PathBuf>,
    /// Whether the machine has a monitor. Without one, its socket answers only
    /// the owner's commands.
    pub has_monitor: bool,
    /// Whether the machine has a port for a guest agent.
    pub has_guest_agent: bool,
    /// The consoles that can be connected to.
    pub consoles: Vec<ConsoleEntry>,
}

/// A console of a published machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConsoleEntry {
    /// Its name; `None` for the first console.
    pub name: Option<String>,
    /// Its log; `None` if none is written.
    pub log: Option<PathBuf>,
}

impl ConsoleEntry {
    pub(crate) fn new(name: Option<String>, log: Option<&Path>) -> Self {
        let log = log.map(absolute);
        Self { name, log }
    }
}

impl Entry {
    /// The entry as JSON, in the form of `machine.json`.
    pub fn to_json(&self) -> Value {
        let since = self.since.duration_since(SystemTime::UNIX_EPOCH);
        let consoles = self.consoles.iter();
        let consoles =
            consoles.map(|it| json!({"name": it.name, "log": it.log.as_deref().map(text)}));
        json!({
            "format": FORMAT,
            "name": self.name,
            "owner_pid": self.owner_pid,
            "ends_owner": self.ends_owner,
            "pid": self.pid,
            "since": since.unwrap_or_default().as_secs_f64(),
            "binary": text(&self.binary),
            "command_line": self.command_line,
            "log": text(&self.log),
            "transcript": self.transcript.as_deref().map(text),
            "has_monitor": self.has_monitor,
            "has_guest_agent": self.has_guest_agent,
            "consoles": consoles.collect::<Vec<_>>(),
        })
    }

    /// `None` if it is not an entry. A later version may add members.
    pub(super) fn of_json(value: &Value) -> Option<Self> {
        let path = |value: &Value| value.as_str().map(PathBuf::from);
        let pid = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let since = Duration::try_from_secs_f64(value["since"].as_f64()?).ok()?;
        let words = value["command_line"].as_array()?.iter();
        let consoles = value["consoles"].as_array()?.iter();
        Some(Self {
            name: value["name"].as_str()?.to_owned(),
            owner_pid: pid(&value["owner_pid"])?,
            // An earlier version has no such member.
            ends_owner: value["ends_owner"].as_bool().unwrap_or(false),
            pid: pid(&value["pid"])?,
            since: SystemTime::UNIX_EPOCH.checked_add(since)?,
            binary: path(&value["binary"])?,
            command_line: words
                .map(|word| word.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
            log: path(&value["log"])?,
            transcript: path(&value["transcript"]),
            has_monitor: value["has_monitor"].as_bool()?,
            has_guest_agent: value["has_guest_agent"].as_bool()?,
            consoles: consoles
                .map(|console| ConsoleEntry {
                    name: console["name"].as_str().map(str::to_owned),
                    log: path(&console["log"]),
                })
                .collect(),
        })
    }

    /// Writes it into this folder. A reader sees all of it or nothing.
    pub(super) fn write_to(&self, folder: &Path) -> io::Result<()> {
        let new = folder.join(NEW_FILE);
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        io::Write::write_all(&mut file, format!("{:#}\n", self.to_json()).as_bytes())?;
        fs::rename(&new, folder.join(FILE))
    }

    /// Reads it from this folder; `None` if there is none.
    pub(super) fn read_from(folder: &Path) -> Option<Self> {
        let bytes = fs::read(folder.join(FILE)).ok()?;
        Self::of_json(&serde_json::from_slice(&bytes).ok()?)
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

const FILE: &str = "machine.json";

/// Its name while it is written.
const NEW_FILE: &str = "machine.json.new";

/// The files of an entry in a machine's folder.
pub(super) const FILES: [&str; 2] = [FILE, NEW_FILE];

/// The form of the file. A change that an older reader cannot read raises it.
const FORMAT: u32 = 1;

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::Scratch;
    use super::*;

    pub(in super::super) fn entry(name: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            owner_pid: std::process::id(),
            ends_owner: false,
            pid: 7,
            since: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
            binary: "qemu".into(),
            command_line: vec!["qemu".to_owned(), "-name".to_owned(), "a \"b\"".to_owned()],
            log: "/x/y.log".into(),
            transcript: None,
            has_monitor: true,
            has_guest_agent: false,
            consoles: vec![
                ConsoleEntry::new(None, Some(Path::new("/x/c.log"))),
                ConsoleEntry::new(Some("fw".to_owned()), None),
            ],
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let scratch = Scratch::new("entry");
        assert_eq!(Entry::read_from(&scratch.0), None);
        let written = entry("vm");
        written.write_to(&scratch.0).unwrap();
        assert_eq!(Entry::read_from(&scratch.0), Some(written));
        let names: Vec<_> = fs::read_dir(&scratch.0).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn what_is_no_entry_is_passed_over_and_a_later_member_is_not_minded() {
        let mut value = entry("vm").to_json();
        value["later"] = json!([1]);
        assert!(Entry::of_json(&value).is_some());
        for member in [
            "name",
            "owner_pid",
            "pid",
            "since",
            "command_line",
            "log",
            "consoles",
        ] {
            for bad in [json!(null), json!(-1), json!({})] {
                let mut value = entry("vm").to_json();
                value[member] = bad;
                assert_eq!(Entry::of_json(&value), None, "{member}");
            }
        }
        value["since"] = json!(1e300);
        assert_eq!(Entry::of_json(&value), None);
    }
}
