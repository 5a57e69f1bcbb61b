//! Facts about this host that may change the results.

use std::path::Path;
use std::process::Command;

use serde::Serialize;

use crate::Failure;

/// Facts to print beside the results.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Host {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) system: String,
    pub(crate) kernel: String,
    /// The host is a virtual machine, by the flags of its processor.
    pub(crate) is_virtual: bool,
    pub(crate) qemu: String,
    /// The commit, and whether there are uncommitted changes.
    pub(crate) commit: String,
    pub(crate) is_changed: bool,
}

/// The load average of the last minute.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Load(pub(crate) f64);

impl Host {
    pub(crate) fn read(qemu: &Path) -> Result<Self, Failure> {
        let processors = std::fs::read_to_string("/proc/cpuinfo")?;
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let total = field(&memory, "MemTotal").unwrap_or_default();
        let kib: u64 = total.trim_end_matches(" kB").parse().unwrap_or_default();
        let flags = field(&processors, "flags").unwrap_or_default();
        let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
        Ok(Self {
            processor: field(&processors, "model name")
                .unwrap_or(UNKNOWN)
                .to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_bytes: kib * 1024,
            system: name(&system).unwrap_or(UNKNOWN).to_owned(),
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            is_virtual: flags.split(' ').any(|flag| flag == "hypervisor"),
            qemu: version(qemu)?,
            commit: git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| UNKNOWN.to_owned()),
            is_changed: changes.is_some_and(|changes| !changes.is_empty()),
        })
    }
}

impl Load {
    pub(crate) fn read() -> Result<Self, Failure> {
        let text = std::fs::read_to_string("/proc/loadavg")?;
        let first = text.split(' ').next().unwrap_or_default();
        Ok(Self(first.parse()?))
    }
}

/// The value of the first line `KEY: VALUE`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = fields.find(|(name, _)| name.trim() == key)?;
    Some(value.trim())
}

/// `PRETTY_NAME` of `os-release(5)`.
fn name(text: &str) -> Option<&str> {
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map(|name| name.trim_matches('"'))
}

/// The number of `QEMU emulator version 10.0.8 (Debian …)`.
fn version(qemu: &Path) -> Result<String, Failure> {
    let said = Command::new(qemu).arg("--version").output()?.stdout;
    let said = String::from_utf8_lossy(&said);
    let mut words = said
        .split_whitespace()
        .skip_while(|&word| word != "version");
    Ok(words.nth(1).unwrap_or(UNKNOWN).to_owned())
}

fn git(words: &[&str]) -> Option<String> {
    let git = Command::new("git")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(words)
        .output()
        .ok()?;
    let said = String::from_utf8(git.stdout).ok()?;
    git.status.success().then(|| said.trim().to_owned())
}

const UNKNOWN: &str = "unknown";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_names_are_read_as_the_system_writes_them() {
        let processors =
            "processor\t: 0\nmodel name\t: A Processor @ 2.00GHz\nflags\t\t: fpu hypervisor\n";
        assert_eq!(
            field(processors, "model name"),
            Some("A Processor @ 2.00GHz")
        );
        assert_eq!(field(processors, "flags"), Some("fpu hypervisor"));
        assert_eq!(field(processors, "bugs"), None);
        assert_eq!(
            name("ID=x\nPRETTY_NAME=\"A System 1\"\n"),
            Some("A System 1")
        );
    }
}
