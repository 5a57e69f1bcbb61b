//! A second, newer QEMU on Debian 12: from its backports, unpacked below
//! `target` and never installed.

use std::{fs, path::Path, process::Command};

use super::{
    apt::{self, Apt},
    keep_up_to_date, launcher, publish, scratch,
    system::System,
};
use crate::{failure::Failure, process};

/// The version that Debian 12's backports have.
pub(crate) const VERSION: &str = "10.0";

/// Makes the second QEMU and its launcher, unless they are there.
pub(crate) fn ensure(system: &System) -> Result<(), Failure> {
    let place = launcher::folder(VERSION);
    // For its final place, whatever the folder is called until then.
    let launcher = launcher::unpacked(&place.join("root"));
    if !place.join("root").is_dir() {
        let folder = scratch("backport")?;
        fetch(system, &folder)?;
        publish(&folder.join(VERSION), &place)?;
        remove(&folder)?;
    }
    // Every time: the whole checkout may have been moved.
    let program = place.join(launcher::PROGRAM);
    keep_up_to_date(&program, launcher.as_bytes(), 0o755)
}

/// Leaves `<folder>/<VERSION>/root`, a tree that runs.
fn fetch(system: &System, folder: &Path) -> Result<(), Failure> {
    let release = &system.codename;
    let backports = Apt::suite(&format!("{release}-backports"), release, folder)?;
    let root = folder.join(VERSION).join("root");
    let packages = folder.join("packages");

    let mut files = backports.download(&PACKAGES.map(str::to_owned), &packages)?;
    let mut present = apt::installed()?;
    loop {
        apt::unpack(&files, &root)?;
        // What an unpacked package needs and the system does not have: little,
        // as the installed QEMU needs nearly the same.
        let (provides, mut missing) = apt::relations(&files)?;
        present.extend(provides);
        missing.retain(|package| present.insert(package.clone()));
        if missing.is_empty() {
            break;
        }
        let (newer, others): (Vec<_>, Vec<_>) = missing
            .into_iter()
            .partition(|package| backports.has(package));
        files = backports.download(&newer, &packages)?;
        files.extend(Apt::system().download(&others, &packages)?);
    }
    try_out(&root)
}

/// Finds a missing library now and not in every test.
fn try_out(root: &Path) -> Result<(), Failure> {
    let mut shell = Command::new("sh");
    shell.args(["-c", &launcher::unpacked(root), launcher::PROGRAM]);
    process::run(shell.arg("--version"))
}

fn remove(folder: &Path) -> Result<(), Failure> {
    fs::remove_dir_all(folder).map_err(Failure::io(format!("remove {}", folder.display())))
}

const PACKAGES: [&str; 6] = [
    "qemu-system-x86",
    "qemu-system-common",
    "qemu-system-data",
    "seabios",
    // Modules that the installed QEMU has: one that is not found here is looked
    // for there, and QEMU complains that it is of another build.
    "qemu-system-modules-opengl",
    "qemu-system-modules-spice",
];
