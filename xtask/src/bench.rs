//! The bench: builds what it measures, optimised, and runs the program of that
//! name on the newest QEMU.

use std::{path::PathBuf, process::Command};

use crate::{failure::Failure, process, process::cargo, setup, workspace};

/// Measures; `words` are the program's own.
pub(crate) fn run(words: &[&str]) -> Result<(), Failure> {
    setup::run()?;
    process::run_shown(&mut bench("release", words)?)
}

/// Sees that all still runs, by what the tests have built already.
pub(crate) fn smoke() -> Result<Command, Failure> {
    bench("dev", &["--smoke"])
}

/// The program, and what it takes, built by this profile of cargo's.
fn bench(profile: &str, words: &[&str]) -> Result<Command, Failure> {
    let folder = match profile {
        "dev" => "debug",
        other => other,
    };
    let build = [
        "build",
        "--quiet",
        "--profile",
        profile,
        "--package",
        "fake-qemu",
    ];
    process::run_shown(&mut cargo(build))?;
    let mut bench = cargo([
        "run",
        "--quiet",
        "--profile",
        profile,
        "--package",
        "bench",
        "--",
    ]);
    bench
        .arg("--fake-qemu")
        .arg(workspace::target().join(folder).join("fake-qemu"));
    bench.arg("--qemu").arg(setup::launcher::newest()?);
    match python() {
        Ok(python) => {
            bench.arg("--python").arg(python);
        }
        Err(reason) => println!("without the peers in Python: {reason}"),
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
