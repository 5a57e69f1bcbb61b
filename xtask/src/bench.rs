//! The bench: builds what it measures, optimised, and runs the program of that
//! name on the newest QEMU.

use crate::{failure::Failure, process, process::cargo, setup, workspace};

/// Measures; `words` are the program's own.
pub(crate) fn run(words: &[&str]) -> Result<(), Failure> {
    setup::run()?;
    let build = ["build", "--quiet", "--release", "--package", "fake-qemu"];
    process::run_shown(&mut cargo(build))?;
    let mut bench = cargo(["run", "--quiet", "--release", "--package", "bench", "--"]);
    bench
        .arg("--fake-qemu")
        .arg(workspace::target().join("release/fake-qemu"));
    bench.arg("--qemu").arg(setup::launcher::newest()?);
    process::run_shown(bench.args(words))
}
