//! Whether this host has room for a template or a clone.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::sys;

/// Fails with a reason if the file system of this directory has no room for this
/// memory. A guest whose memory cannot grow dies by a signal (SIGBUS).
pub(crate) fn check_disk(directory: &Path, memory_bytes: u64) -> Result<(), String> {
    match free_bytes(directory) {
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

/// Why QEMU was killed by SIGBUS, if this file is the guest's memory; `None` if the
/// file is gone.
pub(crate) fn why_memory_failed(memory: &Path) -> Option<String> {
    let free = free_bytes(memory).ok()?;
    Some(format!(
        "the guest's memory is the file {}, whose file system has {} free: QEMU is killed by \
         SIGBUS when there is no room for more of it",
        memory.display(),
        mebibytes(free),
    ))
}

/// The room of the file system that has this file.
fn free_bytes(path: &Path) -> io::Result<u64> {
    sys::free_bytes(&File::open(path)?)
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

/// What the control group of this process may still take, and the groups that
/// it is in (cgroup v2).
fn group_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    let group = root.join(group);
    let groups = group.ancestors().take_while(|it| it.starts_with(root));
    groups.filter_map(bytes_of_group).min()
}

fn bytes_of_group(group: &Path) -> Option<u64> {
    let text = |file: &str| fs::read_to_string(group.join(file)).ok();
    let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
    let used = number("memory.current")?;
    // The kernel gives these pages back when somebody needs them.
    let cached = of_stat(&text("memory.stat").unwrap_or_default());
    Some(number("memory.max")?.saturating_sub(used.saturating_sub(cached)))
}

fn of_stat(text: &str) -> u64 {
    let lines = text.lines();
    let inactive = lines.filter_map(|line| line.strip_prefix("inactive_file "));
    inactive.filter_map(|it| it.parse::<u64>().ok()).sum()
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
        let stat = "anon 5\nfile 9\ninactive_anon 3\ninactive_file 4096\n";
        assert_eq!(of_stat(stat), 4096);
    }

    #[test]
    fn a_group_has_what_its_limit_leaves_without_the_cache() {
        let group = std::env::temp_dir().join(format!("group-{}", std::process::id()));
        fs::create_dir_all(&group).unwrap();
        assert_eq!(bytes_of_group(&group), None);
        for (file, text) in [
            ("memory.max", "max\n"),
            ("memory.current", "700\n"),
            ("memory.stat", "inactive_file 200\n"),
        ] {
            fs::write(group.join(file), text).unwrap();
        }
        assert_eq!(bytes_of_group(&group), None);
        fs::write(group.join("memory.max"), "1000\n").unwrap();
        assert_eq!(bytes_of_group(&group), Some(500));
        fs::remove_dir_all(&group).unwrap();
    }
}
