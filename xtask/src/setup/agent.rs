//! What the Linux guest needs to run the guest agent: Debian's `qemu-ga` with
//! its libraries, and the kernel's modules for its port.

use std::{
    collections::HashSet,
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    apt::{self, Apt},
    cpio::Archive,
    make_folder,
};
use crate::{failure::Failure, process, workspace};

/// Leaves in `place` the agent, its loader and libraries, and the modules of
/// the kernel that was unpacked below `kernel`. Works in `folder`.
pub(crate) fn gather(kernel: &Path, folder: &Path, place: &Path) -> Result<(), Failure> {
    let root = folder.join("agent-root");
    unpack(&folder.join("agent-packages"), &root)?;
    let mut files = libraries(&root)?;
    files.push(root.join("usr/sbin").join(AGENT));
    let (libraries, modules) = (place.join("files"), place.join("modules"));
    for folder in [&libraries, &modules] {
        make_folder(folder)?;
    }
    for file in files {
        copy_into(&file, &libraries, "")?;
    }
    let mut found = Vec::new();
    let search = find_modules(&kernel.join("lib/modules"), &mut found);
    search.map_err(Failure::io("find the modules of the kernel"))?;
    for (number, file) in found {
        copy_into(&file, &modules, &format!("{number}-"))?;
    }
    Ok(())
}

/// Whether [`gather`] has been here.
pub(crate) fn is_gathered(place: &Path) -> bool {
    place.join("files").join(AGENT).exists()
}

/// The archive that adds the agent to an initramfs.
pub(crate) fn archive(place: &Path) -> Result<Vec<u8>, Failure> {
    let mut archive = Archive::default();
    for folder in [
        "etc",
        "etc/init.d",
        "lib",
        "lib/modules",
        "lib64",
        "run",
        "sbin",
    ] {
        archive.directory(folder);
    }
    let scripts = workspace::root().join("guests/linux/agent");
    for (name, file) in [
        ("etc/init.d/agent", scripts.join("start")),
        ("sbin/shutdown", scripts.join("shutdown")),
    ] {
        archive.program(name, &read(&file)?);
    }
    for (name, file) in listed(&place.join("files"))? {
        let folder = match name.as_str() {
            AGENT => "bin",
            LOADER => "lib64",
            _ => "lib",
        };
        archive.program(&format!("{folder}/{name}"), &read(&file)?);
    }
    for (name, file) in listed(&place.join("modules"))? {
        archive.program(&format!("lib/modules/{name}"), &read(&file)?);
    }
    Ok(archive.into_bytes())
}

/// Unpacks the agent and all that it depends on.
fn unpack(packages: &Path, root: &Path) -> Result<(), Failure> {
    let system = Apt::system();
    let mut wanted = vec![PACKAGE.to_owned()];
    let mut present = HashSet::from([PACKAGE.to_owned()]);
    while !wanted.is_empty() {
        let files = system.download(&wanted, packages)?;
        apt::unpack(&files, root)?;
        let (provides, depends) = apt::relations(&files)?;
        present.extend(provides);
        wanted = depends;
        wanted.retain(|package| present.insert(package.clone()));
    }
    Ok(())
}

/// The loader and the libraries of the agent, as its own loader finds them.
fn libraries(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folders = ["lib", "usr/lib"].map(|folder| {
        let architecture = format!("{}-linux-gnu", env::consts::ARCH);
        root.join(folder).join(architecture)
    });
    let loader = folders
        .iter()
        .map(|folder| folder.join(LOADER))
        .find(|loader| loader.is_file())
        .ok_or_else(|| Failure::new(format!("no {LOADER} in its package")))?;
    let path = folders.map(|folder| folder.display().to_string()).join(":");
    let mut list = Command::new(&loader);
    list.args(["--library-path", &path, "--list"]);
    let text = process::output(list.arg(root.join("usr/sbin").join(AGENT)))?;
    let mut files = vec![loader];
    for line in text.lines() {
        match found(line) {
            Some(path) if path.starts_with(root) => files.push(path.to_owned()),
            Some(path) if path.ends_with(LOADER) => {}
            Some(path) => {
                let path = path.display();
                return Err(Failure::new(format!("{AGENT} needs {path} of this system")));
            }
            None => {}
        }
    }
    Ok(files)
}

/// Where a library was found, in a line of what a loader lists.
fn found(line: &str) -> Option<&Path> {
    let (_, found) = line.split_once(" => ")?;
    found.rsplit_once(" (").map(|(path, _)| Path::new(path))
}

/// Those of [`MODULES`], each with its place there.
fn find_modules(folder: &Path, found: &mut Vec<(usize, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            find_modules(&path, found)?;
            continue;
        }
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if let Some((module, _)) = name.split_once(".ko")
            && let Some(number) = MODULES.iter().position(|it| *it == module)
        {
            found.push((number, path));
        }
    }
    Ok(())
}

/// The files of a folder by their names, always in the same order.
fn listed(folder: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
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

fn copy_into(file: &Path, folder: &Path, prefix: &str) -> Result<(), Failure> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    fs::copy(file, folder.join(format!("{prefix}{name}")))
        .map(drop)
        .map_err(Failure::io(format!("copy {}", file.display())))
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(Failure::io(format!("read {}", file.display())))
}

const PACKAGE: &str = "qemu-guest-agent";
const AGENT: &str = "qemu-ga";
const LOADER: &str = "ld-linux-x86-64.so.2";

/// In the order in which they need each other. Those that are not there are
/// built into the kernel.
const MODULES: [&str; 6] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_console",
];

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
