//! Finds leaks: compares the resources of this process before and after.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::children;

/// Everything that this process could leak: its children, open descriptors and
/// threads, and the files of some folders.
///
/// Nothing else in the process may change while it is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Census(BTreeMap<String, String>);

impl Census {
    /// Counts now. A missing folder counts as empty.
    pub fn take<P: AsRef<Path>>(folders: &[P]) -> Self {
        let mut all = BTreeMap::new();
        for child in children::of_this_process() {
            all.insert(format!("child {}", child.pid), child.description);
        }
        for (number, target) in links("/proc/self/fd") {
            // The descriptor of this listing.
            if !target.ends_with("/fd") {
                all.insert(format!("descriptor {number}"), target);
            }
        }
        for thread in names("/proc/self/task") {
            let stat = fs::read(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
            if let Some(name) = living(&String::from_utf8_lossy(&stat)) {
                all.insert(format!("thread {thread}"), name);
            }
        }
        for folder in folders {
            list(folder.as_ref(), &mut all);
        }
        Self(all)
    }

    /// Everything that is new since `before`, one line each.
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.0
            .iter()
            .filter(|&(key, value)| before.0.get(key) != Some(value))
            .map(|(key, value)| format!("{key}: {value}"))
            .collect()
    }

    /// The number of things of this kind: `child`, `descriptor`, `thread` or
    /// `file`.
    pub fn count(&self, kind: &str) -> usize {
        let prefix = format!("{kind} ");
        self.0.keys().filter(|key| key.starts_with(&prefix)).count()
    }
}

/// The name of a thread from its stat, unless the thread is exiting: a joined
/// thread is still listed for a moment.
fn living(stat: &str) -> Option<String> {
    const PF_EXITING: u64 = 0x4;
    let (name, rest) = stat.rsplit_once(')')?;
    let flags: u64 = rest.split_ascii_whitespace().nth(6)?.parse().ok()?;
    let (_, name) = name.split_once('(')?;
    (flags & PF_EXITING == 0).then(|| name.to_owned())
}

fn names(folder: &str) -> Vec<String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn links(folder: &str) -> Vec<(String, String)> {
    names(folder)
        .into_iter()
        .filter_map(|name| {
            let target = fs::read_link(Path::new(folder).join(&name)).ok()?;
            Some((name, target.to_string_lossy().into_owned()))
        })
        .collect()
}

fn list(folder: &Path, all: &mut BTreeMap<String, String>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() && !path.is_symlink() {
            list(&path, all);
        }
        all.insert(format!("file {}", path.display()), String::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Alone in its process, because threads of other tests would count.
    #[test]
    fn each_kind_of_leak_is_seen_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("census-{}", std::process::id()));
        let before = Census::take(&[&folder]);
        assert_eq!(Census::take(&[&folder]).since(&before), [] as [&str; 0]);

        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), "").unwrap();
        let file = fs::File::open("/dev/null").unwrap();
        let mut child = Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || ended.recv());
        let leaks = Census::take(&[&folder]).since(&before).join("\n");
        for leak in ["census", "/dev/null", "child", "pipe:", "thread"] {
            assert!(leaks.contains(leak), "{leak} is not in {leaks}");
        }

        drop((end, file, child.stdin.take()));
        thread.join().unwrap().unwrap_err();
        child.wait().unwrap();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(Census::take(&[&folder]).since(&before), [] as [&str; 0]);
    }
}
