//! The machines that run, by their names: what several verbs need.

mod described;

use std::collections::HashSet;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, SystemTime};

use clap::Args;
use qemu_machine::error::{ConnectError, ErrorKind, PublishedError};
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

    /// All machines that run
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
            all.into_iter().map(Ok).collect()
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
