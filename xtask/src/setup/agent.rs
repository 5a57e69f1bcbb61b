//! The guest agent for the Linux guest: Debian's `qemu-ga` with its libraries,
//! and the kernel modules for its port and for a network card.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    cpio::Archive,
    make_folder,
    programs::{self, LOADER},
};
use crate::{failure::Failure, workspace};

/// Copies to `place` the agent, its loader and libraries, and the modules of the
/// kernel that was unpacked below `kernel`. Works in `folder`.
pub(crate) fn gather(kernel: &Path, folder: &Path, place: &Path) -> Result<(), Failure> {
    let root = folder.join("agent-root");
    programs::unpack(&[PACKAGE], &folder.join("agent-packages"), &root)?;
    let agent = root.join("usr/sbin").join(AGENT);
    let mut files = programs::libraries(&root, &agent)?;
    files.push(agent);
    let (libraries, modules) = (place.join("files"), place.join("modules"));
    for folder in [&libraries, &modules] {
        make_folder(folder)?;
    }
    for file in files {
        programs::copy_into(&file, &libraries, "")?;
    }
    let mut found = Vec::new();
    let search = find_modules(&kernel.join("lib/modules"), &mut found);
    search.map_err(Failure::io("find the modules of the kernel"))?;
    for (number, file) in found {
        programs::copy_into(&file, &modules, &format!("{number}-"))?;
    }
    let wanted = place.join(WANTED);
    fs::write(&wanted, MODULES.join("\n")).map_err(Failure::io("list the modules"))
}

/// Whether [`gather`] has filled this place, with today's modules.
pub(crate) fn is_gathered(place: &Path) -> bool {
    let wanted = fs::read_to_string(place.join(WANTED)).unwrap_or_default();
    wanted == MODULES.join("\n") && place.join("files").join(AGENT).exists()
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
        archive.program(name, &programs::read(&file)?);
    }
    for (name, file) in programs::listed(&place.join("files"))? {
        let folder = match name.as_str() {
            AGENT => "bin",
            LOADER => "lib64",
            _ => "lib",
        };
        archive.program(&format!("{folder}/{name}"), &programs::read(&file)?);
    }
    for (name, file) in programs::listed(&place.join("modules"))? {
        archive.program(&format!("lib/modules/{name}"), &programs::read(&file)?);
    }
    Ok(archive.into_bytes())
}

/// Finds the files of [`MODULES`], each with its index.
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

const PACKAGE: &str = "qemu-guest-agent";
const AGENT: &str = "qemu-ga";

/// The modules in the order in which to load them. Missing modules are built
/// into the kernel.
const MODULES: [&str; 9] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_console",
    "failover",
    "net_failover",
    "virtio_net",
];

/// The file with the names of the modules that were looked for.
const WANTED: &str = "modules.txt";
