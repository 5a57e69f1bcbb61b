//! The table of faults: what can go wrong, what the caller then gets, and how
//! soon. Each row runs alone in the process. After it, one check looks for
//! leftovers: children, descriptors, threads, files.
//!
//! `docs/faults.md` shows the table; a test compares both.
// A group of rows is one list, however long.
#![allow(clippy::too_many_lines, dead_code, unreachable_pub)]

mod at_launch;
mod channels;
mod conditions;
mod connecting;
mod ending;
mod given_up;
mod guest;
mod host;
mod left_behind;
mod log_in;
mod outputs;
mod own_process;
mod page;
mod pictures;
mod python;
mod running;
mod saving;
mod scene;
mod shown_elsewhere;
mod templates;
mod warnings;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use testbed::Census;

use crate::support;
pub use scene::Scene;

/// One row.
pub struct Fault {
    /// The part of the life in which it happens.
    pub group: &'static str,
    pub what: String,
    pub place: Place,
    pub gets: &'static str,
    /// The time from the fault to the result of the caller.
    pub within: Duration,
    play: Box<dyn Fn(&Scene) + Send>,
}

/// Where a row runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// On the scripted peer, or on a program that is not QEMU.
    Scripted,
    /// On every real QEMU.
    Real,
    /// On both.
    Both,
}

/// Makes a row, which `play` runs.
pub fn fault(
    what: impl Into<String>,
    place: Place,
    gets: &'static str,
    within: Duration,
    play: impl Fn(&Scene) + Send + 'static,
) -> Fault {
    Fault {
        group: "",
        what: what.into(),
        place,
        gets,
        within,
        play: Box::new(play),
    }
}

/// How often a row is played at most.
const PLAYS: usize = 3;

/// For an immediate result.
pub const AT_ONCE: Duration = Duration::from_secs(1);

/// A limit far beyond any expected result.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A deadline that a row sets and checks.
pub const SHORT: Duration = Duration::from_millis(200);

/// The whole table.
pub fn table() -> Vec<Fault> {
    let groups = [
        ("At launch", at_launch::rows()),
        ("Running", running::rows()),
        ("The guest", guest::rows()),
        ("Ending", ending::rows()),
        ("Our own process", own_process::rows()),
    ];
    groups
        .into_iter()
        .flat_map(|(group, rows)| rows.into_iter().map(move |row| Fault { group, ..row }))
        .collect()
}

/// Runs the rows of one place; the `main` of the program.
pub fn main(place: Place) -> ExitCode {
    if let Some(code) = host::play() {
        return code;
    }
    testbed::adopt_orphans();
    warnings::note();
    let mut arguments = Arguments::from_args();
    // A row counts what the process has, so it runs alone.
    arguments.test_threads = Some(1);
    if !arguments.list {
        warm_up(place);
    }
    let qemus = match place {
        Place::Real => support::qemus().into_iter().map(Some).collect(),
        _ => vec![None],
    };
    let mut trials = Vec::new();
    if place == Place::Scripted {
        trials.push(Trial::test("the page is the table", || Ok(page::check()?)));
    }
    for qemu in qemus {
        for row in table() {
            if row.place != place && row.place != Place::Both {
                continue;
            }
            let version = match &qemu {
                Some(qemu) => format!("QEMU {}: ", qemu.version),
                None => String::new(),
            };
            let name = format!("{version}{}: {}", row.group, row.what);
            let qemu = qemu.clone();
            trials.push(Trial::test(name, move || row.run(qemu.as_ref())));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

impl Fault {
    /// Plays the row. A busy host can only add to the time from the fault to the
    /// result, so the least of a few plays is what the row takes.
    fn run(&self, qemu: Option<&support::Qemu>) -> Result<(), Failed> {
        let mut least = Duration::MAX;
        for _ in 0..PLAYS {
            least = least.min(self.play_once(qemu.cloned())?);
            if least <= self.within {
                return Ok(());
            }
        }
        Err(format!(
            "it took {least:?} or more in {PLAYS} plays, not {:?}",
            self.within
        )
        .into())
    }

    /// Returns how long it took. Whatever else is wrong is an error.
    fn play_once(&self, qemu: Option<support::Qemu>) -> Result<Duration, Failed> {
        let scene = Scene::new(qemu);
        let before = Census::take(&[scene.base()]);
        let played = catch_unwind(AssertUnwindSafe(|| (self.play)(&scene)));
        let took = scene.took();
        let left = Census::take(&[scene.base()]).since(&before);
        if let Err(panic) = played {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|&it| it.to_owned()));
            return Err(words.unwrap_or_default().into());
        }
        if !left.is_empty() {
            return Err(format!("left behind: {left:#?}").into());
        }
        Ok(took)
    }
}

/// Starts what stays for the life of the process, so that no row is blamed for
/// it: the engine, the guardian, and the thread of the logger.
fn warm_up(place: Place) {
    use qemu_machine::Wait;
    let closes = support::fake("greet\nnegotiate\nexpect *\nmonitor-close\nsilent");
    let vm = closes.launch().wait().unwrap();
    vm.monitor().execute_json("x", ()).wait().unwrap_err();
    vm.kill().wait().unwrap();
    for _ in 0..3 {
        let vm = support::fake("greet\nnegotiate\nserve").launch().wait();
        vm.unwrap().shutdown().wait().unwrap();
    }
    // This process adopts the guardian when the shell that started it has
    // exited.
    let deadline = Instant::now() + PATIENCE;
    assert!(testbed::wait_for_ends(&BTreeSet::new(), deadline));
    if place == Place::Real {
        for qemu in support::qemus() {
            let vm = qemu.tiny().launch().wait().unwrap();
            vm.shutdown().wait().unwrap();
        }
    }
}
