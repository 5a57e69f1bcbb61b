//! Whether this host has room for a template or a clone.

use std::fs::{self, File};
use std::path::Path;

use crate::sys;

/// Fails with a reason if the file system of this directory has no room for this
/// memory. A guest whose memory cannot grow dies by a signal (SIGBUS).
pub(crate) fn check_disk(directory: &Path, memory_bytes: u64) -> Result<(), String> {
    let free = File::open(directory).and_then(|it| sys::free_bytes(&it));
    match free {
        Ok(free) if free < memory_bytes => Err(format!(
            "{} has {} free, and the guest's memory needs {}; free some, or keep the \
             template in a directory on another file system",
            directory.display(),
            mebibytes(free),
            mebibytes(memory_bytes),
        )),
        _ => Ok(()),
    }
}

/// Fails with a reason if this host has too little memory for a clone. A clone
/// needs what it writes, which nobody knows before: this takes an eighth of its
/// memory.
pub(crate) fn check_memory(memory_bytes: u64) -> Result<(), String> {
    let needed = (memory_bytes / 8).max(32 << 20);
    match available_bytes() {
        Some(available) if available < needed => Err(format!(
            "this host has {} of memory available, and another clone needs {} or more",
            mebibytes(available),
            mebibytes(needed),
        )),
        _ => Ok(()),
    }
}

/// The memory that programs can still get; `None` if the kernel does not say.
pub(crate) fn available_bytes() -> Option<u64> {
    let host = fs::read_to_string("/proc/meminfo").ok();
    let host = host.and_then(|text| of_meminfo(&text));
    let group = group_bytes();
    host.into_iter().chain(group).min()
}

fn of_meminfo(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// What the control group of this process may still take (cgroup v2).
fn group_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let group = Path::new("/sys/fs/cgroup").join(group);
    let number = |file: &str| {
        let text = fs::read_to_string(group.join(file)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    Some(number("memory.max")?.saturating_sub(number("memory.current")?))
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_room_is_said_with_numbers() {
        let error = check_disk(Path::new("/"), u64::MAX).unwrap_err();
        assert!(
            error.contains("/ has ") && error.contains("another file system"),
            "{error}"
        );
        assert_eq!(check_disk(Path::new("/"), 0), Ok(()));
        let error = check_memory(u64::MAX).unwrap_err();
        assert!(error.contains("MiB of memory available"), "{error}");
        assert_eq!(check_memory(0), Ok(()));
    }

    #[test]
    fn meminfo_is_read() {
        let text = "MemTotal:       24 kB\nMemFree:  1 kB\nMemAvailable:    16 kB\n";
        assert_eq!(of_meminfo(text), Some(16 * 1024));
        assert_eq!(of_meminfo("MemAvailable: x kB"), None);
        assert!(available_bytes().is_some_and(|it| it > 0));
    }
}
