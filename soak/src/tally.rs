//! The counts of a run, and their text.

use std::collections::BTreeMap;
use std::fmt;

use crate::plan::Plan;

/// The counts of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    launches: u64,
    /// Counts by kind, then by peer.
    faults: BTreeMap<String, BTreeMap<&'static str, u64>>,
    ends: BTreeMap<String, u64>,
    pub(crate) failures: u64,
}

/// The resources of this process at one moment without machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) launches: u64,
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: usize,
    pub(crate) children: usize,
}

impl Tally {
    /// Counts a machine, and its end if there was no failure.
    pub(crate) fn count(&mut self, plan: &Plan, ended: Option<&str>) {
        self.launches += 1;
        let by_peer = self.faults.entry(plan.fault.kind()).or_default();
        *by_peer.entry(plan.peer.kind()).or_default() += 1;
        match ended {
            Some(ended) => *self.ends.entry(ended.to_owned()).or_default() += 1,
            None => self.failures += 1,
        }
    }

    pub(crate) fn launches(&self) -> u64 {
        self.launches
    }
}

impl Sample {
    /// The resources now.
    pub(crate) fn take(launches: u64, census: &testbed::Census) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            launches,
            resident_kib: resident_kib(&status),
            descriptors: census.count("descriptor"),
            threads: census.count("thread"),
            children: census.count("child"),
        }
    }
}

/// From `/proc/PID/status`.
fn resident_kib(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or_default()
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "launches: {}", self.launches)?;
        writeln!(f, "faults:{:26}scripted    real   clone", "")?;
        for (kind, by_peer) in &self.faults {
            let [scripted, real, clone] = ["scripted", "real", "clone"]
                .map(|peer| by_peer.get(peer).copied().unwrap_or_default());
            writeln!(f, "  {kind:31}{scripted:>8}{real:>8}{clone:>8}")?;
        }
        writeln!(f, "ends:")?;
        for (end, count) in &self.ends {
            writeln!(f, "  {end:39}{count:>8}")?;
        }
        write!(f, "failures: {}", self.failures)
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            launches,
            resident_kib,
            descriptors,
            threads,
            children,
        } = self;
        write!(
            f,
            "after {launches} launches: {resident_kib} KiB resident, {descriptors} descriptors, \
             {threads} threads, {children} children"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_counted_by_fault_peer_and_end_and_failures_apart() {
        let mut tally = Tally::default();
        let plan = Plan::of(1, 0);
        tally.count(&plan, Some("dropped"));
        tally.count(&plan, Some("dropped"));
        tally.count(&plan, None);
        assert_eq!((tally.launches(), tally.failures), (3, 1));
        let shown: Vec<String> = tally
            .to_string()
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(shown[0], "launches: 3");
        let counts = match plan.peer.kind() {
            "real" => "0 3 0",
            "clone" => "0 0 3",
            _ => "3 0 0",
        };
        assert_eq!(shown[2], format!("{} {counts}", plan.fault.kind()));
        assert_eq!(shown[4], "dropped 2");
        assert_eq!(shown[5], "failures: 1");
    }

    #[test]
    fn the_memory_is_that_of_the_status() {
        assert_eq!(resident_kib("VmHWM:\t   9 kB\nVmRSS:\t  3456 kB\n"), 3456);
        assert_eq!(resident_kib("strange"), 0);
    }
}
