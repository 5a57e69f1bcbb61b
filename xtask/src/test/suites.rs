//! Decides which test programs run side by side, their order, and which run
//! alone.

use super::programs::Program;

/// The programs in the order in which they start.
pub(crate) struct Suites {
    /// Two at a time. The longest start first, so that the last one is short.
    pub(crate) beside: Vec<Program>,
    /// One at a time, alone.
    pub(crate) alone: Vec<Program>,
}

/// Sorts the programs.
pub(crate) fn sort(programs: Vec<Program>) -> Suites {
    let is_alone = |program: &Program| ALONE.contains(&program.name.as_str());
    let (alone, mut beside): (Vec<_>, Vec<_>) = programs.into_iter().partition(is_alone);
    beside.sort_by_key(|program| {
        let place = LONGEST.iter().position(|name| *name == program.name);
        place.unwrap_or(LONGEST.len())
    });
    Suites { beside, alone }
}

/// Whether a program runs its tests one after the other in its main thread,
/// whatever `RUST_TEST_THREADS` is.
pub(crate) fn is_one_by_one(program: &Program) -> bool {
    ONE_BY_ONE.contains(&program.name.as_str())
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

/// The programs that take longer than the rest, the longest first.
const LONGEST: [&str; 11] = [
    "qemu-machine/real",
    "bench/real_smoke",
    "qemu-machine/scripted_faults",
    "qemu-qmp/hostile_peers",
    "qemu-machine/scripted",
    "qemu-machine/real_faults",
    "qemu-machine-cli/real",
    "qemu-machine/scripted_hostile",
    "qemu-qmp/qmp",
    "soak/real_smoke",
    "qemu-machine/interact",
];

/// The programs with their own test harness.
const ONE_BY_ONE: [&str; 4] = [
    "qemu-machine/real_faults",
    "qemu-machine/scripted_faults",
    "qemu-machine/scripted_hostile",
    "qemu-qmp/hostile_peers",
];

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::PathBuf};

    use super::*;
    use crate::workspace;

    fn program(name: &str) -> Program {
        Program {
            name: name.to_owned(),
            path: PathBuf::new(),
            folder: PathBuf::new(),
        }
    }

    #[test]
    fn the_longest_start_first_and_those_about_time_have_the_host_for_themselves() {
        let programs = [
            "xtask/bin",
            "qemu-machine/scripted_promptness",
            "qemu-machine/scripted_faults",
            "qemu-machine/real",
        ];
        let suites = sort(programs.map(program).to_vec());
        let names = |programs: Vec<Program>| programs.into_iter().map(|it| it.name);
        assert_eq!(
            names(suites.beside).collect::<Vec<_>>(),
            [
                "qemu-machine/real",
                "qemu-machine/scripted_faults",
                "xtask/bin"
            ]
        );
        assert_eq!(
            names(suites.alone).collect::<Vec<_>>(),
            ["qemu-machine/scripted_promptness"]
        );
    }

    #[test]
    fn every_program_that_is_named_here_exists() {
        let root = workspace::root();
        for name in ALONE.iter().chain(&LONGEST).chain(&ONE_BY_ONE) {
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
