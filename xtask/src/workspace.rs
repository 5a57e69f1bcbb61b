//! The folders and files of the workspace.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// The folder of everything that can be built or downloaded again.
///
/// It does not depend on `CARGO_TARGET_DIR`: the tests look for QEMU and guests
/// here.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// Every file of the workspace with one of these extensions, in order, as a path
/// below its root. Hidden files and the folder `target` are left out.
pub(crate) fn files(extensions: &[&str]) -> Result<Vec<PathBuf>, Failure> {
    let root = root();
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let read = || Failure::io(format!("list {}", folder.display()));
        for entry in fs::read_dir(&folder).map_err(read())? {
            let entry = entry.map_err(read())?;
            let name = entry.file_name();
            let is_hidden = name.to_string_lossy().starts_with('.');
            let kind = entry.file_type().map_err(read())?;
            let path = entry.path();
            let extension = path.extension().unwrap_or_default();
            if kind.is_dir() && !is_hidden && name != "target" {
                folders.push(path);
            } else if kind.is_file() && extensions.iter().any(|it| extension == *it) {
                files.push(path.strip_prefix(&root).unwrap_or(&path).to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The published crates, each after the crates that it depends on.
pub(crate) const PUBLISHED: [&str; 3] = ["qemu-qmp-engine", "qemu-qmp", "qemu-machine"];
