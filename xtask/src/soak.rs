//! The soak: sets up what it needs, and runs the program of that name on every
//! real QEMU there is.

use crate::{failure::Failure, process, process::cargo, setup};

/// Soaks, as these arguments of the program say.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    setup::run()?;
    // It looks for the scripted peer where cargo builds both.
    process::run_shown(&mut cargo(["build", "--quiet", "--package", "fake-qemu"]))?;
    let mut soak = cargo(["run", "--quiet", "--package", "soak", "--"]);
    for qemu in setup::launcher::all() {
        soak.arg("--qemu").arg(qemu);
    }
    soak.args(arguments);
    process::run_shown(&mut soak)
}
