//! bash for the Linux guest, from Debian's package with a static program.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    apt::{self, Apt},
    cpio::Archive,
    scratch,
};
use crate::failure::Failure;

/// Puts the program at this place.
pub(crate) fn fetch(place: &Path) -> Result<(), Failure> {
    let folder = scratch("bash")?;
    let packages = Apt::system().download(&[PACKAGE.to_owned()], &folder.join("packages"))?;
    let root = folder.join("root");
    apt::unpack(&packages, &root)?;
    let gather = || fs::rename(program(&root)?, place);
    gather().map_err(Failure::io("find bash in its package"))?;
    fs::remove_dir_all(&folder).map_err(Failure::io(format!("remove {}", folder.display())))
}

/// The archive that adds bash to an initramfs. `init` then starts it.
pub(crate) fn archive(program: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    archive.program("bin/bash", program);
    archive.into_bytes()
}

/// In some releases `/bin` is a folder, in others a link to `/usr/bin`.
fn program(root: &Path) -> io::Result<PathBuf> {
    ["bin", "usr/bin"]
        .map(|folder| root.join(folder).join(PACKAGE))
        .into_iter()
        .find(|program| program.is_file())
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

const PACKAGE: &str = "bash-static";
