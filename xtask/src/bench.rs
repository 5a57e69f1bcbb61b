//! The bench: builds what it measures, optimised, and runs the program of that
//! name on the newest QEMU.

use std::{path::PathBuf, process::Command};

use crate::{failure::Failure, process, process::cargo, setup, workspace};

/// Measures; `words` are the program's own.
pub(crate) fn run(words: &[&str]) -> Result<(), Failure> {
    setup::run()?;
    process::run_shown(&mut bench(words)?)
}

/// Sets up the peers that come from elsewhere, if that can be; the tests have
/// each row measured once, with those that are there.
pub(crate) fn set_up() -> Option<PathBuf> {
    python()
        .inspect_err(|reason| tell!("without the peers in Python: {reason}"))
        .ok()
}

/// The program, and what it takes.
fn bench(words: &[&str]) -> Result<Command, Failure> {
    let build = ["build", "--quiet", "--release", "--package", "fake-qemu"];
    process::run_shown(&mut cargo(build))?;
    let mut bench = cargo(["run", "--quiet", "--release", "--package", "bench", "--"]);
    bench
        .arg("--fake-qemu")
        .arg(workspace::target().join("release/fake-qemu"));
    bench.arg("--qemu").arg(setup::launcher::newest()?);
    if let Some(python) = set_up() {
        bench.arg("--python").arg(python);
    }
    bench.args(words);
    Ok(bench)
}

/// A Python with the peer `qemu.qmp`, in an environment of its own.
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
