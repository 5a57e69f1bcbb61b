//! The main job, shown on a real QEMU: sets up what it needs, and runs the
//! library's example of that name.

use crate::{failure::Failure, process, setup};

/// Shows what the library does.
pub(crate) fn run() -> Result<(), Failure> {
    setup::run()?;
    let mut demo = process::cargo([
        "run",
        "--quiet",
        "--package",
        "qemu-machine",
        "--example",
        "demo",
        "--",
    ]);
    demo.arg(setup::launcher::newest()?);
    let guest = ["vmlinuz", "initramfs"].map(|file| setup::linux::folder().join(file));
    if guest.iter().all(|file| file.is_file()) {
        demo.args(guest);
    }
    tell!("");
    process::run_shown(&mut demo)
}
