//! The demo on a real QEMU: runs the set-up, then the library's example `demo`.

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
