//! The Linux guest: Debian's cloud kernel, and an initramfs with busybox and the
//! script `guests/linux/init`. Further initramfs files add the guest agent, bash
//! and Debian's login. Keyboard layouts are also there.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    agent,
    apt::{self, Apt},
    bash,
    cpio::Archive,
    keep_up_to_date, kernel, keymaps, login, publish, replace, scratch,
    system::System,
};
use crate::{failure::Failure, workspace};

/// The folder of the guest.
pub(crate) fn folder() -> PathBuf {
    workspace::target().join("guests/linux")
}

/// Makes `target/guests/linux/{vmlinuz,vmlinux,initramfs}` and
/// `initramfs-{agent,bash,login}`, if they are missing.
pub(crate) fn ensure(system: &System) -> Result<(), Failure> {
    let place = folder();
    let busybox = place.join("busybox");
    let agent = place.join("agent");
    let bash = place.join("bash");
    let login = place.join("login");
    let keymaps = place.join("keymaps");
    let is_there = busybox.exists() && agent::is_gathered(&agent);
    let all_is_there = is_there && bash.exists() && login.exists() && keymaps.exists();
    if !(all_is_there || system.has_debian_packages()) {
        tell!("no Linux guest: it can only be made on Debian for x86-64, from its packages");
        return Ok(());
    }
    if !is_there {
        let folder = scratch("linux")?;
        fetch(&folder)?;
        publish(&folder.join("linux"), &place)?;
        fs::remove_dir_all(&folder).map_err(Failure::io(format!("remove {}", folder.display())))?;
    }
    if !bash.exists() {
        bash::fetch(&bash)?;
    }
    if !login.exists() {
        login::fetch(&login)?;
    }
    if !keymaps.exists() {
        keymaps::fetch(&keymaps)?;
    }
    let vmlinux = place.join("vmlinux");
    if !vmlinux.exists() {
        let packed = read(&place.join("vmlinuz"))?;
        // QEMU boots a kernel of another format packed, only slower.
        let kernel = kernel::unpacked(&packed).unwrap_or(packed);
        replace(&vmlinux, &kernel, 0o644)?;
    }
    // In every run, because the scripts may have been edited. It is fast.
    let init = workspace::root().join("guests/linux/init");
    let mut archive = initramfs(&read(&busybox)?, &read(&init)?);
    keep_up_to_date(&place.join("initramfs"), &archive, 0o644)?;
    // The kernel unpacks one archive after the other.
    let with_bash = [archive.as_slice(), &bash::archive(&read(&bash)?)].concat();
    keep_up_to_date(&place.join("initramfs-bash"), &with_bash, 0o644)?;
    let with_login = [with_bash.as_slice(), &login::archive(&login)?].concat();
    keep_up_to_date(&place.join("initramfs-login"), &with_login, 0o644)?;
    archive.extend(agent::archive(&agent)?);
    keep_up_to_date(&place.join("initramfs-agent"), &archive, 0o644)
}

/// Makes `<folder>/linux/{vmlinuz,busybox,agent}`.
fn fetch(folder: &Path) -> Result<(), Failure> {
    let system = Apt::system();
    let kernel = system
        .depends(KERNEL)?
        .into_iter()
        .find(|package| package.starts_with("linux-image-"))
        .ok_or_else(|| Failure::new(format!("{KERNEL} depends on no kernel")))?;

    let files = system.download(&[kernel, BUSYBOX.to_owned()], &folder.join("packages"))?;
    let root = folder.join("root");
    apt::unpack(&files, &root)?;

    let finished = folder.join("linux");
    let gather = || {
        fs::create_dir(&finished)?;
        fs::rename(vmlinuz(&root)?, finished.join("vmlinuz"))?;
        fs::rename(root.join("bin/busybox"), finished.join("busybox"))
    };
    gather().map_err(Failure::io("find the kernel and busybox in their packages"))?;
    agent::gather(&root, folder, &finished.join("agent"))
}

fn vmlinuz(root: &Path) -> Result<PathBuf, std::io::Error> {
    for file in fs::read_dir(root.join("boot"))? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with("vmlinuz-") {
            return Ok(file.path());
        }
    }
    Err(std::io::ErrorKind::NotFound.into())
}

fn initramfs(busybox: &[u8], init: &[u8]) -> Vec<u8> {
    let mut archive = Archive::default();
    for folder in ["bin", "dev", "proc", "root", "sys"] {
        archive.directory(folder);
    }
    // The kernel opens it for /init, before /init has mounted anything.
    archive.character_device("dev/console", (5, 1));
    archive.program("bin/busybox", busybox);
    // Busybox's shell needs no links for its own commands. These are for the
    // script's first line, and for the time until /proc is mounted.
    for command in ["mount", "sh"] {
        archive.symlink(&format!("bin/{command}"), "busybox");
    }
    archive.program("init", init);
    archive.into_bytes()
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(file).map_err(Failure::io(format!("read {}", file.display())))
}

const KERNEL: &str = "linux-image-cloud-amd64";
const BUSYBOX: &str = "busybox-static";
