//! Finds the processes that outlive the started process.
//!
//! What a wrapper or QEMU forked is killed with its group. A process that left
//! the group (`setsid`, `su -c`, `-daemonize` in a script) is not. But it still
//! has an end of a channel that only the machine ever had. The number of that
//! socket, or of the pipe of the output, is in `/proc/PID/fd`.
//!
//! ```text
//! Lifelines --is_held--> Search --step, step, ...--> Candidates --> Process
//! ```
//!
//! Never takes a fork of this process for a process of the machine: a fork with
//! the end of QEMU also has our end. Never decides by a process id alone: a
//! candidate is opened by a descriptor, and then checked again.

use crate::life::Survivor;
use crate::life::SurvivorOutcome;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use socket2::{Domain, Socket, Type};

use crate::sys;

/// The two ends of a socket pair.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    /// The number of our descriptor. Its owner may have closed it.
    descriptor: RawFd,
    /// The numbers of our end and of the end of the machine in `/proc`.
    pub(crate) ours: u64,
    pub(crate) theirs: u64,
}

impl Ends {
    /// `None` if the system does not report the numbers.
    pub(crate) fn of(ours: &Socket, theirs: &Socket) -> Option<Self> {
        Some(Self {
            descriptor: ours.as_raw_fd(),
            ours: sys::inode(ours.as_raw_fd())?,
            theirs: sys::inode(theirs.as_raw_fd())?,
        })
    }
}

/// The channels that identify the processes of a machine.
#[derive(Debug, Clone)]
pub(crate) struct Lifelines {
    /// The output of QEMU.
    output: Arc<PipeReader>,
    /// The pair for this purpose only, and then the pairs of the channels.
    sockets: Vec<Ends>,
    /// Our end of the first pair.
    _open: Arc<Socket>,
}

impl Lifelines {
    /// From the output, the channels, and a new pair, whose other end is
    /// returned. No process writes to that pair, reads it or closes it. A QEMU
    /// that becomes a daemon closes its output, and a QEMU whose peer dies
    /// closes its channels.
    pub(crate) fn new(output: Arc<PipeReader>, channels: Vec<Ends>) -> io::Result<(Self, Socket)> {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
        let sockets = Ends::of(&ours, &theirs).into_iter().chain(channels);
        let lifelines = Self {
            output,
            sockets: sockets.collect(),
            _open: Arc::new(ours),
        };
        Ok((lifelines, theirs))
    }

    /// The pair that identifies the processes of the machine to a guardian.
    pub(crate) fn for_guardian(&self) -> Option<&Ends> {
        self.sockets.first()
    }

    /// Whether a process still has an end of the machine. Takes one system call
    /// if none does.
    pub(crate) fn is_held(&self) -> bool {
        let sockets = self.sockets.iter().map(|ends| ends.descriptor);
        let output = self.output.as_raw_fd();
        let hung_up = sys::hung_up(std::iter::once(output).chain(sockets));
        let Some((&output_has, sockets_have)) = hung_up.split_first() else {
            return false;
        };
        // By now, the number may be another descriptor.
        let is_ours = |ends: &Ends| sys::inode(ends.descriptor) == Some(ends.ours);
        let mut sockets = self.sockets.iter().zip(sockets_have);
        !output_has || sockets.any(|(ends, &has)| !has && is_ours(ends))
    }
}

/// A search over every process of the system.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    lifelines: &'a Lifelines,
    /// The pipe of the output, as a link in `/proc` names it.
    output: String,
    leader: u32,
    /// When the leader started; `None` if it was already reaped.
    since: Option<u64>,
    /// Whether to find all processes of the group, even without a channel.
    whole_group: bool,
    left: std::vec::IntoIter<u32>,
    found: Candidates,
}

/// What a search found.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    pub(crate) all: Vec<Candidate>,
    /// Whether a fork of this process has a channel.
    pub(crate) by_forks: bool,
}

/// A process of a machine.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    pub(crate) name: String,
    /// Whether it has a channel, or is only in the group.
    pub(crate) holds: bool,
    pub(crate) in_group: bool,
    /// Whether it has ended, or is ending.
    pub(crate) is_ending: bool,
}

impl<'a> Search<'a> {
    /// Starts a search for what this process left. It is the leader of its
    /// group. If the group is searched too, the leader must not be reaped
    /// before the end of the search.
    pub(crate) fn new(lifelines: &'a Lifelines, leader: u32, whole_group: bool) -> Self {
        let descriptor = lifelines.output.as_raw_fd();
        let output = fs::read_link(format!("/proc/self/fd/{descriptor}"));
        let output = output.map(|link| link.to_string_lossy().into_owned());
        let own = std::process::id();
        let others = processes().filter(|&pid| pid != own && pid != leader);
        Self {
            lifelines,
            output: output.unwrap_or_default(),
            leader,
            since: Stat::of(leader).map(|stat| stat.start_time),
            whole_group,
            left: others.collect::<Vec<u32>>().into_iter(),
            found: Candidates::default(),
        }
    }

    /// Checks more processes. Returns `false` if none is left.
    pub(crate) fn step(&mut self, count: usize) -> bool {
        for _ in 0..count {
            let Some(pid) = self.left.next() else {
                return false;
            };
            if self.look(pid).is_some()
                && let Ok(pidfd) = sys::open_process(pid)
                // With the descriptor open, its id cannot change hands. Before,
                // it could.
                && let Some((stat, holds)) = self.look(pid)
            {
                self.found.all.push(Candidate {
                    pid,
                    pidfd,
                    holds,
                    in_group: stat.group == self.leader,
                    is_ending: stat.is_ending,
                    name: stat.name,
                });
            }
        }
        true
    }

    pub(crate) fn into_candidates(self) -> Candidates {
        self.found
    }

    /// Checks a process, and whether it has a channel; `None` if it is not of
    /// the machine.
    fn look(&mut self, pid: u32) -> Option<(Stat, bool)> {
        let stat = Stat::of(pid)?;
        let held = self.held_by(pid, &stat);
        if held.ours {
            self.found.by_forks |= held.theirs;
            return None;
        }
        let is_wanted = held.theirs || self.whole_group && stat.group == self.leader;
        is_wanted.then_some((stat, held.theirs))
    }

    fn held_by(&self, pid: u32, stat: &Stat) -> Held {
        let mut held = Held::default();
        // Programs pass their output on to servers, which started earlier.
        let may_have_output = self.since.is_some_and(|since| stat.start_time >= since);
        for entry in fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            let Ok(link) = fs::read_link(&path) else {
                continue;
            };
            let link = link.to_string_lossy();
            if let Some(socket) = link.strip_prefix("socket:[") {
                let number = socket.trim_end_matches(']').parse().unwrap_or(0);
                let sockets = &self.lifelines.sockets;
                held.ours |= sockets.iter().any(|ends| ends.ours == number);
                held.theirs |= sockets.iter().any(|ends| ends.theirs == number);
            } else if link == self.output {
                let [reads, writes] = directions(&path);
                held.ours |= reads;
                held.theirs |= writes && may_have_output;
            }
        }
        held
    }
}

/// The ends that a process has.
#[derive(Debug, Default)]
struct Held {
    ours: bool,
    theirs: bool,
}

/// Whether a descriptor reads, and whether it writes: from the mode of its
/// link.
fn directions(link: &Path) -> [bool; 2] {
    let mode = fs::symlink_metadata(link).map(|link| link.permissions().mode());
    let mode = mode.unwrap_or_default();
    [mode & 0o400 != 0, mode & 0o200 != 0]
}

/// The processes of a group. Its leader must not be reaped before the call.
pub(crate) fn group(leader: u32) -> Vec<OwnedFd> {
    let is_in = |pid: &u32| Stat::of(*pid).is_some_and(|stat| stat.group == leader);
    let mut members = Vec::new();
    for pid in processes().filter(is_in) {
        // With the descriptor open, the id cannot change hands.
        members.extend(sys::open_process(pid).ok().filter(|_| is_in(&pid)));
    }
    members
}

/// All processes in `/proc`.
fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The processes of the group of this leader that have not ended.
pub(super) fn members(leader: u32) -> Vec<u32> {
    let is_member =
        |&pid: &u32| Stat::of(pid).is_some_and(|stat| stat.group == leader && !stat.has_ended);
    processes().filter(is_member).collect()
}

/// A process in `/proc/PID/stat` (`proc_pid_stat(5)`).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    name: String,
    group: u32,
    /// Whether it only waits to be reaped.
    has_ended: bool,
    pub(crate) is_ending: bool,
    /// In ticks since the start of the system.
    start_time: u64,
}

impl Stat {
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::read(&fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    fn read(stat: &[u8]) -> Option<Self> {
        const PF_EXITING: u64 = 0x4;
        let stat = String::from_utf8_lossy(stat);
        // A name may contain anything, even parentheses.
        let (name, fields) = stat.rsplit_once(')')?;
        let (_, name) = name.split_once('(')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let flags: u64 = fields.get(6)?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            group: fields.get(2)?.parse().ok()?,
            has_ended: ["Z", "X"].contains(fields.first()?),
            is_ending: flags & PF_EXITING != 0,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }
}

/// The survivors of one machine.
#[derive(Debug, Default)]
pub(crate) struct SurvivorList {
    pub(crate) all: Vec<Survivor>,
    /// Whether a process has a channel, but cannot be seen.
    pub(crate) unseen: bool,
    added: BTreeSet<u32>,
}

impl SurvivorList {
    /// Adds a process that is being killed, or must not be.
    pub(crate) fn add(&mut self, candidate: &Candidate, outcome: SurvivorOutcome) {
        if self.added.insert(candidate.pid) {
            self.all.push(Survivor {
                pid: candidate.pid,
                name: candidate.name.clone(),
                outcome,
            });
        }
    }

    /// The warning about a process that `/proc` does not show.
    pub(crate) fn warning(&self) -> Option<String> {
        let text = "a process that this one cannot see still has a channel of the machine open";
        self.unseen.then(|| text.to_owned())
    }

    /// The process has not ended in time.
    pub(crate) fn lives(&mut self, candidate: &Candidate) {
        let mut all = self.all.iter_mut();
        if let Some(survivor) = all.find(|survivor| survivor.pid == candidate.pid) {
            survivor.outcome = SurvivorOutcome::Unkillable;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Lifelines, and then the ends of the machine and ours of a channel.
    fn lifelines() -> (Lifelines, io::PipeWriter, [Socket; 2], Socket) {
        let (output, writer) = io::pipe().unwrap();
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        let channel = vec![Ends::of(&ours, &theirs).unwrap()];
        let (lifelines, last) = Lifelines::new(Arc::new(output), channel).unwrap();
        (lifelines, writer, [theirs, last], ours)
    }

    /// A process like a child of a machine, with this as its standard input.
    fn holder(end: OwnedFd) -> Child {
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::from(end)).spawn().unwrap()
    }

    fn found(lifelines: &Lifelines) -> Vec<u32> {
        // Started before every holder, and in another group.
        let mut search = Search::new(lifelines, std::process::id(), false);
        while search.step(16) {}
        let found = search.into_candidates().all;
        found.iter().map(|candidate| candidate.pid).collect()
    }

    #[test]
    fn who_holds_an_end_of_the_machine_s_is_found_and_nobody_else() {
        let (lifelines, writer, [channel, last], ours) = lifelines();
        assert!(lifelines.is_held());
        // This process has all ends, and is never found.
        assert_eq!(found(&lifelines), [] as [u32; 0]);
        let stranger = holder(fs::File::open("/dev/null").unwrap().into());
        let reader = holder(lifelines.output.as_fd().try_clone_to_owned().unwrap());
        let peer = holder(ours.try_clone().unwrap().into());
        let holders = [writer.into(), channel.into(), last.into()].map(holder);
        let mut wanted = holders.each_ref().map(Child::id);
        wanted.sort_unstable();
        let mut seen = found(&lifelines);
        seen.sort_unstable();
        assert_eq!(seen, wanted);
        assert!(lifelines.is_held());
        let others = [stranger, reader, peer];
        for mut child in others.into_iter().chain(holders) {
            assert!(lifelines.is_held());
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(!lifelines.is_held());
    }

    #[test]
    fn a_channel_whose_own_end_is_closed_is_not_taken_for_held() {
        let (lifelines, writer, [channel, last], ours) = lifelines();
        drop((writer, last));
        assert!(lifelines.is_held());
        drop(ours);
        assert!(!lifelines.is_held());
        drop(channel);
    }

    #[test]
    fn a_name_may_be_anything() {
        let stat = b"7 (a) R (b) S 1 5 5 0 -1 4194308 1 0 0 0 0 0 0 0 20 0 1 0 99 0";
        let stat = Stat::read(stat).unwrap();
        assert_eq!(stat.name, "a) R (b");
        assert_eq!((stat.group, stat.start_time), (5, 99));
        assert!(stat.is_ending);
        assert_eq!(Stat::read(b"7 (a"), None);
    }
}
