//! The children of this process, including adopted ones.

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
    /// Whether it leads its own process group. A child that this process has started
    /// does; a child that was forked by one of them does not.
    fn is_leader(&self) -> bool {
        self.group == self.pid
    }
}

/// Makes this process adopt the orphans of its descendants.
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

/// The children with this text in their command line.
pub fn children_like(words: &str) -> Vec<u32> {
    of_this_process()
        .into_iter()
        .filter(|child| child.description.contains(words))
        .map(|child| child.pid)
        .collect()
}

/// Waits until all started children except these have ended. Adopted children do
/// not count. Their starter reaps them. `false` if the deadline comes first.
pub fn wait_for_ends(but: &BTreeSet<u32>, deadline: Instant) -> bool {
    of_this_process()
        .into_iter()
        .filter(|child| !but.contains(&child.pid) && child.is_leader())
        .all(|child| sys::wait_by(child.pid, deadline))
}

/// The unreaped children of this process: the program's name, whether it is a
/// zombie, and the command line of each.
pub fn described_children() -> Vec<(u32, String)> {
    let children = of_this_process().into_iter();
    children
        .map(|child| (child.pid, child.description))
        .collect()
}

/// Waits until this process has no children except these, and reaps those that
/// end. After [`adopt_orphans`], this waits for a process and all of its
/// descendants.
///
/// # Errors
/// The children that are left at the deadline.
pub fn wait_for_children(but: &BTreeSet<u32>, deadline: Instant) -> Result<(), Vec<String>> {
    loop {
        // Read again each time, because orphans of an ended child become children of
        // this process.
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

/// Waits for the end of one child of this process without reaping it. `false` if
/// the deadline comes first.
pub fn wait_for_end(pid: u32, deadline: Instant) -> bool {
    sys::wait_by(pid, deadline)
}

/// Waits for the end of one child of this process, adopted or not, and reaps it.
/// `false` if the deadline comes first. A child that is gone has ended.
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
            // Other states are left out, because they change all the time.
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
