//! Sets up what the tests need and this host lacks: the tools, a second QEMU,
//! uniform launchers and a Linux guest. A second run has nothing to do.
//!
//! Downloads stay below `target`. Only the tools are installed into the system.
//!
//! Unfinished work never counts as done: everything is built in the scratch
//! folder and moved to its place by one rename.

mod agent;
mod apt;
mod backport;
mod bash;
mod cpio;
mod kernel;
mod keymaps;
pub(crate) mod launcher;
pub(crate) mod linux;
pub(crate) mod locale;
mod login;
mod programs;
mod sources;
mod system;
mod tools;

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::{failure::Failure, workspace};
use system::System;
pub(crate) use tools::is_root;

/// Sets up whatever is missing.
pub(crate) fn run() -> Result<(), Failure> {
    let _lock = lock()?;
    let system = System::this();
    tools::ensure(&system)?;

    let installed = launcher::write_installed()?;
    if system.has_backported_qemu() && installed != backport::VERSION {
        backport::ensure(&system)?;
    }
    linux::ensure(&system)
}

/// Fails with advice if the user must install tools first.
pub(crate) fn check() -> Result<(), Failure> {
    tools::check(&System::this())
}

/// Sets up only the tools, for work that needs no second QEMU and no guest.
pub(crate) fn run_tools() -> Result<(), Failure> {
    let _lock = lock()?;
    tools::ensure(&System::this())
}

/// Writes a file by a rename, so that no reader finds half of it.
pub(crate) fn replace(path: &Path, contents: &[u8], mode: u32) -> Result<(), Failure> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&unfinished, contents)?;
        fs::set_permissions(&unfinished, fs::Permissions::from_mode(mode))?;
        fs::rename(&unfinished, path)
    };
    write().map_err(Failure::io(format!("write {}", path.display())))
}

/// Like [`replace`], unless the file already has these contents.
fn keep_up_to_date(path: &Path, contents: &[u8], mode: u32) -> Result<(), Failure> {
    if fs::read(path).is_ok_and(|bytes| bytes == contents) {
        return Ok(());
    }
    replace(path, contents, mode)
}

/// Moves a finished folder to its place.
fn publish(finished: &Path, place: &Path) -> Result<(), Failure> {
    let publish = || {
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        if place.exists() {
            fs::remove_dir_all(place)?;
        }
        fs::rename(finished, place)
    };
    publish().map_err(Failure::io(format!("make {}", place.display())))
}

/// An empty folder for work in progress, on the file system of the results.
fn scratch(name: &str) -> Result<PathBuf, Failure> {
    let folder = workspace::target().join("setup").join(name);
    let make = || {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)
    };
    make().map_err(Failure::io(format!("empty {}", folder.display())))?;
    Ok(folder)
}

fn make_folder(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(Failure::io(format!("make {}", folder.display())))
}

/// Locks the set-up. The kernel releases the lock at the end of the process.
fn lock() -> Result<File, Failure> {
    let path = workspace::target().join("setup.lock");
    let take = || {
        fs::create_dir_all(workspace::target())?;
        let file = File::create(&path)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                tell!("another set-up is running; waiting until it ends ...");
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        file.lock()?;
        Ok(file)
    };
    take().map_err(Failure::io(format!("lock {}", path.display())))
}
