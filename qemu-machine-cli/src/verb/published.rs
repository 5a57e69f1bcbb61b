//! The machines that run, by their names: what several verbs need.

mod described;

use std::collections::HashSet;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, SystemTime};

use clap::Args;
use qemu_machine::Wait;
use qemu_machine::error::{ConnectError, ErrorKind, PublishedError, RegistryError};
use qemu_machine::registry::{self, PublishedMachine};

use super::qmp::failed;
pub(super) use described::{Described, State};

use crate::exit::Outcome;
use crate::failure::Failure;
use crate::output;

/// Which machines.
#[derive(Debug, Args)]
pub(super) struct Names {
    /// The machines' names
    #[arg(value_name = "NAME", required_unless_present = "all")]
    names: Vec<String>,

    /// All machines that run, but those that a pool keeps ready
    #[arg(long, conflicts_with = "names")]
    all: bool,
}

/// The usage of a verb on machines. In clap's own text, --all is missing.
pub(super) fn names_usage(verb: &str) -> String {
    format!("qemu-machine {verb} [OPTIONS] <NAME>...\n       qemu-machine {verb} [OPTIONS] --all")
}

/// The machine with this name.
pub(super) fn find(name: &str) -> Result<PublishedMachine, Failure> {
    registry::find(name).map_err(Failure::failed)
}

/// Why the monitor that a machine's owner serves cannot be connected to.
pub(super) fn not_connected(
    machine: &PublishedMachine,
    limit: Duration,
    error: ConnectError,
) -> Failure {
    if error.kind() != ErrorKind::Timeout {
        return failed(error);
    }
    failed(PublishedError::Timeout {
        name: machine.name().to_owned(),
        owner_pid: machine.entry().owner_pid,
        limit,
    })
}

impl Names {
    /// Does something with each of them. A failure is printed, and does not keep
    /// the others from it; the outcome is that of the first failure.
    pub(super) fn each(
        &self,
        act: impl Fn(&PublishedMachine) -> Result<(), Failure> + Sync,
    ) -> Result<Outcome, Failure> {
        let machines: Vec<_> = if self.all {
            let all = registry::list().map_err(Failure::failed)?;
            let pools = Pools::ask().map_err(Failure::failed)?;
            let all = all.into_iter().filter(|it| pools.that_keeps(it).is_none());
            all.map(Ok).collect()
        } else {
            // A machine cannot end twice.
            let mut seen = HashSet::new();
            let names = self.names.iter().filter(|name| seen.insert(*name));
            names.map(|name| find(name)).collect()
        };
        let results = at_once(machines, |machine| act(&machine?));
        let mut outcome = Outcome::Succeeded;
        for failure in results.into_iter().filter_map(Result::err) {
            if let Some(message) = &failure.message {
                output::error(message);
            }
            if outcome == Outcome::Succeeded {
                outcome = failure.outcome;
            }
        }
        Ok(outcome)
    }
}

/// The pools that answer.
pub(super) struct Pools(Vec<Pool>);

/// A pool, and which of its machines were taken.
struct Pool {
    name: String,
    owner_pid: u32,
    taken: Vec<String>,
}

impl Pools {
    pub(super) fn ask() -> Result<Self, RegistryError> {
        let pools = registry::pools()?;
        let asked = at_once(&pools, |pool| {
            let status = pool.status().timeout(PATIENCE).wait().ok()?;
            Some(Pool {
                name: pool.name().to_owned(),
                owner_pid: status.owner_pid,
                taken: status.taken,
            })
        });
        Ok(Self(asked.into_iter().flatten().collect()))
    }

    /// The name of the pool that keeps this machine ready, or makes it.
    pub(super) fn that_keeps(&self, machine: &PublishedMachine) -> Option<&str> {
        let (name, owner_pid) = (machine.name(), machine.entry().owner_pid);
        let mut pools = self.0.iter();
        let pool = pools.find(|pool| pool.keeps(name, owner_pid))?;
        Some(&pool.name)
    }
}

impl Pool {
    fn keeps(&self, machine: &str, owner_pid: u32) -> bool {
        let number = machine.strip_prefix(&self.name);
        let number = number.and_then(|it| it.strip_prefix('-'));
        owner_pid == self.owner_pid
            && number.is_some_and(|it| it.parse::<u64>().is_ok())
            && !self.taken.iter().any(|taken| taken == machine)
    }
}

/// How long a pool has to say which machines were taken.
const PATIENCE: Duration = Duration::from_secs(2);

/// Does something with all of them at once: the ends of many machines take no
/// longer than one. The results are in order.
pub(super) fn at_once<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    act: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let act = &act;
    thread::scope(|scope| {
        let threads = items.into_iter();
        let threads: Vec<_> = threads.map(|it| scope.spawn(move || act(it))).collect();
        let results = threads.into_iter().map(ScopedJoinHandle::join);
        results.map(|it| it.expect("no panic")).collect()
    })
}

/// The time since then; zero if the clock was set back.
pub(super) fn age(since: SystemTime) -> Duration {
    since.elapsed().unwrap_or_default()
}

/// A span of time in its largest unit: `59s`, `3m`, `2h`, `4d`.
pub(super) fn in_short(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_keeps_its_machines_that_were_not_taken() {
        let pool = Pool {
            name: "web".to_owned(),
            owner_pid: 7,
            taken: vec!["web-2".to_owned()],
        };
        assert!(pool.keeps("web-1", 7));
        for (other, owner_pid) in [
            ("web-2", 7),
            ("web-1", 8),
            ("web-a", 7),
            ("web1", 7),
            ("web", 7),
        ] {
            assert!(!pool.keeps(other, owner_pid), "{other}");
        }
    }

    #[test]
    fn an_age_has_its_largest_unit() {
        let table = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7199, "1h"),
            (90_000, "1d"),
        ];
        for (seconds, text) in table {
            assert_eq!(in_short(Duration::from_secs(seconds)), text);
        }
    }
}
