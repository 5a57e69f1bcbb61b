//! A short soak, to check that the long one still works.
#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A run of this number of machines of a seed, on every real QEMU.
fn soak(arguments: &[&str]) -> Output {
    let mut soak = Command::new(env!("CARGO_BIN_EXE_soak"));
    for qemu in qemus() {
        soak.arg("--qemu").arg(qemu);
    }
    soak.args(arguments).output().unwrap()
}

fn qemus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/qemu");
    let versions = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let qemus: Vec<PathBuf> = versions
        .map(|version| version.path().join("qemu-system-x86_64"))
        .filter(|qemu| qemu.is_file())
        .collect();
    assert!(!qemus.is_empty(), "no QEMU: run `cargo xtask setup`");
    qemus
}

#[test]
fn sixty_machines_with_their_faults_leave_nothing_and_are_told_rightly() {
    let output = soak(&["--seed", "1", "--launches", "60"]);
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    let first = told.lines().next();
    assert_eq!(first, Some("seed 1"));
    for line in ["launches: 60", "failures: 0", "leaks: 0"] {
        assert!(told.lines().any(|told| told == line), "{line}:\n{told}");
    }
    for part in [
        "most machines alive at once",
        "at the start, after 0 launches",
        "at the middle, after 30 launches",
        "at the end, after 60 launches",
    ] {
        assert!(told.contains(part), "{part}:\n{told}");
    }
}

#[test]
fn a_command_line_that_is_wrong_is_an_error_with_the_usage() {
    for arguments in [["--seed", "x"], ["--launches", "-1"], ["--what", "1"]] {
        let output = soak(&arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && errors.contains("usage: soak"),
            "{errors}"
        );
    }
}
