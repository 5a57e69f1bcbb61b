//! The children of this process, those that it adopted included.

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use crate::sys;

/// A child that has not been reaped.
pub(crate) struct Child {
    pub(crate) pid: u32,
    group: u32,
    pub(crate) description: String,
}

impl Child {
    /// Whether it leads a group of its own, as whom we start does, and whom
    /// those have forked does not.
    fn is_leader(&self) -> bool {
        self.group == self.pid
    }
}

/// Makes this process the parent of whatever its descendants leave behind.
pub fn adopt_orphans() {
    sys::become_subreaper();
}

/// The children of this process that have not been reaped.
pub fn children() -> BTreeSet<u32> {
    of_this_process()
        .into_iter()
        .map(|child| child.pid)
        .collect()
}

/// The children whose command line has these words.
pub fn children_like(words: &str) -> Vec<u32> {
    of_this_process()
        .into_iter()
        .filter(|child| child.description.contains(words))
        .map(|child| child.pid)
        .collect()
}

/// Waits until all children but these have ended that were started, not
/// adopted, and leaves it to who started them to reap them. `false` where the
/// deadline comes first.
pub fn wait_for_ends(but: &BTreeSet<u32>, deadline: Instant) -> bool {
    of_this_process()
        .into_iter()
        .filter(|child| !but.contains(&child.pid) && child.is_leader())
        .all(|child| sys::wait_by(child.pid, deadline))
}

/// The children of this process that have not been reaped, with the name of
/// their program, whether they are zombies, and their command line.
pub fn described_children() -> Vec<(u32, String)> {
    let children = of_this_process().into_iter();
    children
        .map(|child| (child.pid, child.description))
        .collect()
}

/// Waits until this process has no children but these, and reaps those that
/// end. Together with [`adopt_orphans`] that is until a process and all that it
/// ever started, whoever of them forked it, are gone.
///
/// # Errors
/// The children that are left at the deadline.
pub fn wait_for_children(but: &BTreeSet<u32>, deadline: Instant) -> Result<(), Vec<String>> {
    loop {
        // Anew each time: whom an ended child leaves behind becomes our child.
        let Some(child) = children().difference(but).next().copied() else {
            return Ok(());
        };
        if !reap(child, deadline) {
            return Err(of_this_process()
                .into_iter()
                .filter(|child| !but.contains(&child.pid))
                .map(|child| format!("{}: {}", child.pid, child.description))
                .collect());
        }
    }
}

/// Waits for the end of one child of this process, and leaves it to whoever
/// reaps it; `false` where the deadline comes first.
pub fn wait_for_end(pid: u32, deadline: Instant) -> bool {
    sys::wait_by(pid, deadline)
}

/// Waits for the end of one child of this process, adopted or not, and reaps
/// it; `false` where the deadline comes first. One that is gone is none.
pub fn reap(pid: u32, deadline: Instant) -> bool {
    let ended = sys::wait_by(pid, deadline);
    if ended {
        sys::reap(pid);
    }
    ended
}

/// All children, with their command line.
pub(crate) fn of_this_process() -> Vec<Child> {
    let own = std::process::id();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
            let stat = String::from_utf8_lossy(&stat);
            let (name, rest) = stat.rsplit_once(')')?;
            let mut fields = rest.split_ascii_whitespace();
            let (state, parent) = (fields.next()?, fields.next()?);
            let group = fields.next()?.parse().ok()?;
            if parent.parse() != Ok(own) {
                return None;
            }
            let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).replace('\0', " ");
            // No other state is told, for they come and go.
            let zombie = if state == "Z" { "(zombie) " } else { "" };
            let name = name.rsplit_once('(').map_or("", |(_, name)| name);
            Some(Child {
                pid,
                group,
                description: format!("{name} {zombie}{words}"),
            })
        })
        .collect()
}
