//! Decides which jobs run side by side, their order, and which run alone.

/// Jobs or their names, each list in the order in which they start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suites<T> {
    /// They need the processors most of the time.
    pub(crate) busy: Vec<T>,
    /// They mostly wait, so they run beside busy ones.
    pub(crate) waiting: Vec<T>,
    /// One at a time, alone.
    pub(crate) alone: Vec<T>,
}

/// Sorts jobs by their names. The longest start first, so that the last one is
/// short.
pub(crate) fn sort<T>(jobs: Vec<T>, name: impl Fn(&T) -> &str) -> Suites<T> {
    let place = |list: &[&str], job: &T| {
        let program = program(name(job));
        list.iter().position(|listed| *listed == program)
    };
    let (alone, beside): (Vec<_>, Vec<_>) = jobs
        .into_iter()
        .partition(|job| place(&ALONE, job).is_some());
    let (mut waiting, mut busy): (Vec<_>, Vec<_>) = beside
        .into_iter()
        .partition(|job| place(&WAITING, job).is_some());
    waiting.sort_by_key(|job| place(&WAITING, job));
    busy.sort_by_key(|job| place(&LONGEST, job).unwrap_or(LONGEST.len()));
    Suites {
        busy,
        waiting,
        alone,
    }
}

/// The name of a program that runs under hardships.
pub(crate) fn under_hardships(program: &str) -> String {
    format!("{program}{HARDSHIPS}")
}

/// The program's name, with or without hardships.
fn program(job: &str) -> &str {
    job.strip_suffix(HARDSHIPS).unwrap_or(job)
}

/// Whether a program lets others have the processors first. Those that mostly wait
/// must go on promptly: some of their tests have limits of a second.
pub(crate) fn yields(program: &str) -> bool {
    !WAITING.contains(&program) && !ALONE.contains(&program)
}

const HARDSHIPS: &str = " under hardships";

/// How many tests a program runs at once.
pub(crate) fn places(program: &str, processors: usize) -> usize {
    if ONE_BY_ONE.contains(&program) {
        1
    } else if HALF_WAITING.contains(&program) {
        processors + processors / 2
    } else if WAITING.contains(&program) {
        2 * processors
    } else {
        processors
    }
}

/// They measure time, or need the whole host for a while.
const ALONE: [&str; 6] = [
    "qemu-machine-cli/real_interrupts",
    "qemu-machine/real_fleet",
    "qemu-machine/real_tiny_guest",
    "qemu-machine/scripted_crowd",
    "qemu-machine/scripted_promptness",
    "qemu-machine/scripted_spawning",
];

/// The busy programs that take longer than the rest, the longest first.
const LONGEST: [&str; 7] = [
    "qemu-machine/real",
    "qemu-machine-cli/real",
    "qemu-qmp/hostile_peers",
    "bench/real_smoke",
    "qemu-qmp/qmp",
    "qemu-machine/scripted_hostile",
    "qemu-machine/real_wrappers",
];

/// The jobs that wait at least half of their time, the longest first.
const WAITING: [&str; 11] = [
    WHEEL,
    "qemu-machine/scripted",
    "qemu-machine/scripted_faults",
    PYTHON,
    "qemu-machine/real_faults",
    "soak/real_smoke",
    "qemu-machine/interact",
    "qemu-machine/scripted_descriptors",
    "qemu-machine/scripted_stalled_engine",
    "qemu-machine/scripted_registry_census",
    "qemu-machine/scripted_fleet",
];

/// The tests of the Python package.
pub(crate) const PYTHON: &str = "Python tests";

/// The tests of the Python package's wheel.
pub(crate) const WHEEL: &str = "Python tests of the wheel";

/// The program that is the longest: its tests wait for a third of their time.
const HALF_WAITING: [&str; 1] = ["qemu-machine/real"];

/// The programs with their own test harness.
const ONE_BY_ONE: [&str; 4] = [
    "qemu-machine/real_faults",
    "qemu-machine/scripted_faults",
    "qemu-machine/scripted_hostile",
    "qemu-qmp/hostile_peers",
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;
    use crate::workspace;

    #[test]
    fn the_longest_start_first_and_those_about_time_have_the_host_for_themselves() {
        let hard = under_hardships("qemu-machine/scripted");
        let jobs = vec![
            "xtask/bin",
            "qemu-machine/scripted_promptness",
            "qemu-machine/scripted_faults",
            &hard,
            "qemu-machine/scripted",
            "qemu-machine-cli/real",
            "qemu-machine/real",
            WHEEL,
        ];
        let expected = Suites {
            busy: vec!["qemu-machine/real", "qemu-machine-cli/real", "xtask/bin"],
            waiting: vec![
                WHEEL,
                &hard,
                "qemu-machine/scripted",
                "qemu-machine/scripted_faults",
            ],
            alone: vec!["qemu-machine/scripted_promptness"],
        };
        assert_eq!(sort(jobs, |name| name), expected);
    }

    #[test]
    fn busy_programs_let_the_others_go_first() {
        assert!(yields("qemu-machine/real") && yields("xtask/bin"));
        assert!(!yields("qemu-machine/scripted_faults"));
        assert!(!yields("qemu-machine/scripted_promptness"));
    }

    #[test]
    fn tests_that_wait_run_more_at_once() {
        assert_eq!(places("xtask/bin", 2), 2);
        assert_eq!(places("qemu-machine/real", 2), 3);
        assert_eq!(places("qemu-machine/scripted", 2), 4);
        assert_eq!(places("qemu-machine/scripted_faults", 2), 1);
    }

    #[test]
    fn every_program_that_is_named_here_exists() {
        let root = workspace::root();
        let lists = [&ALONE[..], &LONGEST, &WAITING, &HALF_WAITING, &ONE_BY_ONE];
        let python = [PYTHON, WHEEL];
        for name in lists.concat().iter().filter(|name| !python.contains(name)) {
            let (package, target) = name.split_once('/').unwrap();
            let tests = root.join(package).join("tests");
            let is_there = tests.join(format!("{target}.rs")).is_file()
                || tests.join(target).join("main.rs").is_file();
            assert!(is_there, "{name}");
        }
    }

    /// The toolchain's harness runs many tests at once; `Times` depends on that.
    #[test]
    fn every_program_with_a_harness_of_its_own_is_known_to_run_one_by_one() {
        let mut found = BTreeSet::new();
        for package in fs::read_dir(workspace::root()).unwrap() {
            let package = package.unwrap();
            let manifest = fs::read_to_string(package.path().join("Cargo.toml"));
            let name = package.file_name().to_string_lossy().into_owned();
            for test in manifest.unwrap_or_default().split("[[test]]").skip(1) {
                let mut lines = test.lines();
                if test.contains("harness = false") {
                    let target = lines.find_map(|line| line.strip_prefix("name = ")).unwrap();
                    found.insert(format!("{name}/{}", target.trim_matches('"')));
                }
            }
        }
        let known: BTreeSet<_> = ONE_BY_ONE.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(found, known);
    }
}
