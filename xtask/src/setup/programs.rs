//! Programs for the Linux guest from Debian's packages, with their dependencies,
//! the loader and the libraries.

use std::{
    collections::HashSet,
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    apt::{self, Apt},
    make_folder,
};
use crate::{failure::Failure, process};

/// The loader's file.
pub(crate) const LOADER: &str = "ld-linux-x86-64.so.2";

/// Unpacks packages and all of their dependencies below `root`.
pub(crate) fn unpack(packages: &[&str], downloads: &Path, root: &Path) -> Result<(), Failure> {
    let system = Apt::system();
    let mut wanted: Vec<String> = packages.iter().map(ToString::to_string).collect();
    let mut present: HashSet<String> = wanted.iter().cloned().collect();
    while !wanted.is_empty() {
        let files = system.download(&wanted, downloads)?;
        apt::unpack(&files, root)?;
        let (provides, depends) = apt::relations(&files)?;
        present.extend(provides);
        wanted = depends;
        wanted.retain(|package| present.insert(package.clone()));
    }
    Ok(())
}

/// The loader of a program or module, and the libraries that the loader finds.
pub(crate) fn libraries(root: &Path, program: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folders = library_folders(root);
    let loader = folders
        .iter()
        .map(|folder| folder.join(LOADER))
        .find(|loader| loader.is_file())
        .ok_or_else(|| Failure::new(format!("the package of {LOADER} does not have it")))?;
    let path = folders.map(|folder| folder.display().to_string()).join(":");
    let mut list = Command::new(&loader);
    list.args(["--library-path", &path, "--list"]);
    let text = process::output(list.arg(program))?;
    let mut files = vec![loader];
    for line in text.lines() {
        match found(line) {
            Some(path) if path.starts_with(root) => files.push(path.to_owned()),
            Some(path) if path.ends_with(LOADER) => {}
            Some(path) => {
                let (program, path) = (program.display(), path.display());
                return Err(Failure::new(format!(
                    "{program} needs a library that its packages do not have: the loader found {path}"
                )));
            }
            None => {}
        }
    }
    Ok(files)
}

/// The folders of libraries. In some releases `/lib` is a folder, in others a
/// link to `/usr/lib`.
pub(crate) fn library_folders(root: &Path) -> [PathBuf; 2] {
    ["lib", "usr/lib"].map(|folder| {
        let architecture = format!("{}-linux-gnu", env::consts::ARCH);
        root.join(folder).join(architecture)
    })
}

/// The files of a folder, sorted by name.
pub(crate) fn listed(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let list = || -> io::Result<_> {
        let mut files = Vec::new();
        for file in fs::read_dir(folder)? {
            let file = file?;
            files.push((file.file_name().to_string_lossy().into_owned(), file.path()));
        }
        files.sort();
        Ok(files)
    };
    list().map_err(Failure::io(format!("list {}", folder.display())))
}

/// Copies a file into a folder, with a prefix before its name.
pub(crate) fn copy_into(file: &Path, folder: &Path, prefix: &str) -> Result<(), Failure> {
    make_folder(folder)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    fs::copy(file, folder.join(format!("{prefix}{name}")))
        .map(drop)
        .map_err(Failure::io(format!("copy {}", file.display())))
}

pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(Failure::io(format!("read {}", file.display())))
}

/// The path of a library in a line of the loader's list.
fn found(line: &str) -> Option<&Path> {
    let (_, found) = line.split_once(" => ")?;
    found.rsplit_once(" (").map(|(path, _)| Path::new(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_found_where_the_loader_says() {
        let line = "\tlibudev.so.1 => /a b/lib/libudev.so.1 (0x00007f4f45099000)";
        assert_eq!(found(line), Some(Path::new("/a b/lib/libudev.so.1")));
        assert_eq!(found("\tlinux-vdso.so.1 (0x00007ffd8d3f4000)"), None);
        assert_eq!(found(""), None);
    }
}
