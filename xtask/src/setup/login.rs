//! Debian's login for the Linux guest: `agetty`, `login`, PAM's modules, their
//! libraries, and the accounts of `guests/linux/login`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    cpio::Archive,
    programs::{self, LOADER},
    publish, scratch,
};
use crate::{failure::Failure, workspace};

/// Puts the programs, their libraries and the modules in this place.
pub(crate) fn fetch(place: &Path) -> Result<(), Failure> {
    let folder = scratch("login")?;
    let root = folder.join("root");
    programs::unpack(&PACKAGES, &folder.join("packages"), &root)?;
    let finished = folder.join("login");
    let gather = |file: &Path, into: &str| {
        programs::copy_into(file, &finished.join(into), "")?;
        for library in programs::libraries(&root, file)? {
            programs::copy_into(&library, &finished.join("libraries"), "")?;
        }
        Ok::<(), Failure>(())
    };
    for program in PROGRAMS {
        gather(&find(&root, program)?, "programs")?;
    }
    for module in MODULES {
        let folders = programs::library_folders(&root);
        let file = folders
            .map(|folder| folder.join("security").join(module))
            .into_iter()
            .find(|file| file.is_file());
        let file =
            file.ok_or_else(|| Failure::new(format!("the package of {module} does not have it")))?;
        gather(&file, "modules")?;
    }
    publish(&finished, place)?;
    fs::remove_dir_all(&folder).map_err(Failure::io(format!("remove {}", folder.display())))
}

/// The archive that adds the login to an initramfs.
pub(crate) fn archive(place: &Path) -> Result<Vec<u8>, Failure> {
    let mut archive = Archive::default();
    for folder in [
        "etc",
        "etc/pam.d",
        "lib64",
        "run",
        "tmp",
        "var",
        "var/log",
        "var/run",
    ] {
        archive.directory(folder);
    }
    // The loader and PAM search Debian's libraries and modules here.
    for folder in ["lib", MODULE_FOLDERS[0], MODULE_FOLDERS[1]] {
        archive.directory(folder);
    }
    for (folder, name) in [("programs", "bin"), ("modules", MODULE_FOLDERS[1])] {
        for (file, path) in programs::listed(&place.join(folder))? {
            archive.program(&format!("{name}/{file}"), &programs::read(&path)?);
        }
    }
    for (file, path) in programs::listed(&place.join("libraries"))? {
        let folder = if file == LOADER {
            "lib64"
        } else {
            MODULE_FOLDERS[0]
        };
        archive.program(&format!("{folder}/{file}"), &programs::read(&path)?);
    }
    let accounts = workspace::root().join("guests/linux/login");
    for (file, path) in programs::listed(&accounts)? {
        let name = match file.as_str() {
            "login" => "pam.d/login",
            name => name,
        };
        archive.program(&format!("etc/{name}"), &programs::read(&path)?);
    }
    Ok(archive.into_bytes())
}

/// Finds a program in the folders of its package.
fn find(root: &Path, program: &str) -> Result<PathBuf, Failure> {
    ["bin", "sbin", "usr/bin", "usr/sbin"]
        .map(|folder| root.join(folder).join(program))
        .into_iter()
        .find(|file| file.is_file())
        .ok_or_else(|| Failure::new(format!("the package of {program} does not have it")))
}

const PACKAGES: [&str; 3] = ["login", "util-linux", "libpam-modules"];
const PROGRAMS: [&str; 3] = ["agetty", "login", "nologin"];

/// The modules in `guests/linux/login/login`.
const MODULES: [&str; 5] = [
    "pam_faildelay.so",
    "pam_lastlog.so",
    "pam_motd.so",
    "pam_nologin.so",
    "pam_unix.so",
];

const MODULE_FOLDERS: [&str; 2] = ["lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu/security"];
