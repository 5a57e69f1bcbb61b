//! Programs that cargo installs below `target/tools`, for this project only.

use std::{env, path::PathBuf};

use crate::{failure::Failure, process, process::cargo, workspace};

/// The program of this crate. It is installed if it is missing.
pub(crate) fn ensure(name: &str) -> Result<PathBuf, Failure> {
    let folder = workspace::target().join("tools");
    let program = folder.join("bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    tell!("installing {name} into target/tools ...");
    let mut install = cargo(["install", "--quiet", "--locked", name, "--root"]);
    // In another folder, so that the workspace's settings do not apply.
    install.arg(folder).current_dir(env::temp_dir());
    process::run_shown(&mut install)?;
    Ok(program)
}
