//! A second, newer QEMU on Debian 12, from its backports. It is unpacked below
//! `target` and not installed.

use std::{fs, path::Path, process::Command};

use super::{
    apt::{self, Apt},
    keep_up_to_date, launcher, publish, scratch,
    system::System,
};
use crate::{failure::Failure, process};

/// The version in the backports of Debian 12.
pub(crate) const VERSION: &str = "10.0";

/// Makes the second QEMU and its launcher, if they are missing.
pub(crate) fn ensure(system: &System) -> Result<(), Failure> {
    let place = launcher::folder(VERSION);
    // The launcher has the final path, not that of the scratch folder.
    let launcher = launcher::unpacked(&place.join("root"));
    if !place.join("root").is_dir() {
        let folder = scratch("backport")?;
        fetch(system, &folder)?;
        publish(&folder.join(VERSION), &place)?;
        remove(&folder)?;
    }
    // In every run, because the checkout may have been moved.
    let program = place.join(launcher::PROGRAM);
    keep_up_to_date(&program, launcher.as_bytes(), 0o755)
}

/// Makes `<folder>/<VERSION>/root`, a tree with a QEMU that runs.
fn fetch(system: &System, folder: &Path) -> Result<(), Failure> {
    let release = &system.codename;
    let backports = Apt::suite(&format!("{release}-backports"), release, folder)?;
    let root = folder.join(VERSION).join("root");
    let packages = folder.join("packages");

    let mut files = backports.download(&PACKAGES.map(str::to_owned), &packages)?;
    let mut present = apt::installed()?;
    loop {
        apt::unpack(&files, &root)?;
        // Dependencies that the system lacks. They are few, because the
        // installed QEMU has nearly the same.
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

/// Runs QEMU once, to find a missing library now and not in every test.
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
    // Modules that the installed QEMU has. QEMU would find the installed ones,
    // and report that they are from another build.
    "qemu-system-modules-opengl",
    "qemu-system-modules-spice",
];
