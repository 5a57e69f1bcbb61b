//! The soak: runs the set-up, then the program `soak` with every real QEMU of
//! the set-up.

use crate::{failure::Failure, process, process::cargo, setup};

/// Soaks; the arguments are those of the program `soak`.
pub(crate) fn run(arguments: &[&str]) -> Result<(), Failure> {
    setup::run()?;
    // The program looks for fake-qemu in its own folder.
    process::run_shown(&mut cargo(["build", "--quiet", "--package", "fake-qemu"]))?;
    let mut soak = cargo(["run", "--quiet", "--package", "soak", "--"]);
    for qemu in setup::launcher::all() {
        soak.arg("--qemu").arg(qemu);
    }
    soak.arg("--linux").arg(setup::linux::folder());
    soak.args(arguments);
    process::run_shown(&mut soak)
}
