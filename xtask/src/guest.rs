//! The tiny guest firmware: built from its source by its own script, and kept
//! in the repository, so that its users need no assembler.

use std::{fs, path::PathBuf, process::Command};

use crate::{failure::Failure, process, setup, workspace};

/// Builds the firmware and replaces the one that is kept.
pub(crate) fn rebuild() -> Result<(), Failure> {
    let built = build()?;
    let kept = kept();
    if fs::read(&kept).is_ok_and(|bytes| bytes == built) {
        tell!("{}: up to date", kept.display());
        return Ok(());
    }
    setup::replace(&kept, &built, 0o644)?;
    tell!("{}: replaced ({} bytes)", kept.display(), built.len());
    Ok(())
}

fn build() -> Result<Vec<u8>, Failure> {
    setup::run_tools()?;
    let out = workspace::target().join("tiny.bin");
    process::run(Command::new("sh").arg(folder().join("build.sh")).arg(&out))?;
    fs::read(&out).map_err(Failure::io(format!("read {}", out.display())))
}

fn kept() -> PathBuf {
    folder().join("tiny.bin")
}

fn folder() -> PathBuf {
    workspace::root().join("qemu-machine/guests/tiny")
}
