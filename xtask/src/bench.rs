//! The bench: makes a release build, and runs the program `bench` with the
//! newest QEMU.

use std::{path::PathBuf, process::Command};

use crate::{failure::Failure, process, process::cargo, setup, workspace};

/// Measures; `words` are the arguments of the program `bench`.
pub(crate) fn run(words: &[&str]) -> Result<(), Failure> {
    setup::run()?;
    process::run_shown(&mut bench(words)?)
}

/// Sets up the peers in Python, if that is possible. The tests measure each row
/// once, with the peers that exist.
pub(crate) fn set_up() -> Option<PathBuf> {
    python()
        .inspect_err(|reason| {
            tell!("bench: the peers in Python are not measured: {reason}");
        })
        .ok()
}

/// The program with all of its arguments.
fn bench(words: &[&str]) -> Result<Command, Failure> {
    let build = ["build", "--quiet", "--release", "--package"];
    for package in ["fake-qemu", "qemu-machine-cli", "soak"] {
        process::run_shown(cargo(build).arg(package))?;
    }
    let suite = ["qemu-machine", "--example", "suite"];
    process::run_shown(cargo(build).args(suite))?;
    let mut bench = cargo(["run", "--quiet", "--release", "--package", "bench", "--"]);
    bench
        .arg("--fake-qemu")
        .arg(workspace::target().join("release/fake-qemu"));
    bench
        .arg("--command")
        .arg(workspace::target().join("release/qemu-machine"));
    bench
        .arg("--linux")
        .arg(workspace::target().join("guests/linux"));
    bench.arg("--qemu").arg(setup::launcher::newest()?);
    if let Some(python) = set_up() {
        bench.arg("--python").arg(python);
    }
    bench.args(words);
    Ok(bench)
}

/// A Python with the peer `qemu.qmp`, in a virtual environment.
fn python() -> Result<PathBuf, Failure> {
    let folder = workspace::target().join("bench/python");
    let python = folder.join("bin/python");
    let mut has_peer = Command::new(&python);
    has_peer.args(["-c", "import qemu.qmp"]);
    if process::run(&mut has_peer).is_err() {
        let mut make = Command::new("python3");
        process::run(make.args(["-m", "venv", "--clear"]).arg(&folder))?;
        let mut install = Command::new(&python);
        process::run(install.args(["-m", "pip", "install", "--quiet", "qemu.qmp"]))?;
    }
    Ok(python)
}
