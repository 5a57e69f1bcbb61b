//! Programs that cargo installs for the project alone, below `target/tools`.

use std::{env, path::PathBuf};

use crate::{failure::Failure, process, process::cargo, workspace};

/// The program of this crate, which is installed if it is missing.
pub(crate) fn ensure(name: &str) -> Result<PathBuf, Failure> {
    let folder = workspace::target().join("tools");
    let program = folder.join("bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    tell!("installing {name} into target/tools ...");
    let mut install = cargo(["install", "--quiet", "--locked", name, "--root"]);
    // For itself alone, not for the workspace.
    install.arg(folder).current_dir(env::temp_dir());
    process::run_shown(&mut install)?;
    Ok(program)
}
