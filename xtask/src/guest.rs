//! The tiny guest firmware. A script builds it from its source. The result is
//! in the repository, so users need no assembler.

use std::{fs, path::PathBuf, process::Command};

use crate::{failure::Failure, process, setup, workspace};

/// Builds the firmware and replaces the file in the repository.
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
