//! Launchers: a script for each QEMU, so that the tests start every version in
//! the same way. The path is `target/qemu/<version>/qemu-system-x86_64`.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::keep_up_to_date;
use crate::{failure::Failure, process, process::quoted, workspace};

/// The name of the program and of each launcher.
pub(crate) const PROGRAM: &str = "qemu-system-x86_64";

/// The folder of a launcher and its files.
pub(crate) fn folder(version: &str) -> PathBuf {
    workspace::target().join("qemu").join(version)
}

/// Writes the launcher of the installed QEMU. Returns its version.
///
/// Launchers of earlier installed versions are removed.
pub(crate) fn write_installed() -> Result<String, Failure> {
    let path = env::var_os("PATH").unwrap_or_default();
    let program = env::split_paths(&path)
        .map(|folder| folder.join(PROGRAM))
        .find(|program| program.is_file())
        .ok_or_else(|| Failure::new(format!("{PROGRAM} is not in the PATH")))?;
    let said = process::output(Command::new(&program).arg("--version"))?;
    let version = version(&said)
        .ok_or_else(|| Failure::new(format!("{} printed no version: {said}", program.display())))?;

    let launcher = installed(&program);
    remove_others(&launcher, version);
    let place = folder(version).join(PROGRAM);
    keep_up_to_date(&place, launcher.as_bytes(), 0o755)?;
    Ok(version.to_owned())
}

/// The launcher of the newest QEMU.
pub(crate) fn newest() -> Result<PathBuf, Failure> {
    let newest = all().pop();
    newest.ok_or_else(|| Failure::new("no QEMU is set up; run: cargo xtask setup"))
}

/// The launchers of all QEMUs, the newest last.
pub(crate) fn all() -> Vec<PathBuf> {
    let folders = fs::read_dir(workspace::target().join("qemu"));
    let mut folders: Vec<PathBuf> = folders
        .into_iter()
        .flatten()
        .flatten()
        .map(|folder| folder.path())
        .collect();
    folders.sort_by_cached_key(|folder| {
        let version = folder.file_name().unwrap_or_default().to_string_lossy();
        version
            .split('.')
            .map(|part| part.parse().unwrap_or(0))
            .collect::<Vec<u32>>()
    });
    folders
        .into_iter()
        .map(|folder| folder.join(PROGRAM))
        .filter(|launcher| launcher.is_file())
        .collect()
}

/// A launcher for an installed QEMU, which finds its own files.
fn installed(program: &Path) -> String {
    format!("#!/bin/sh\nexec {} \"$@\"\n", quoted(program))
}

/// A launcher for a QEMU that is unpacked below `root`.
///
/// It sets the path of the modules. Otherwise QEMU finds the modules of the
/// installed version first, and crashes.
pub(crate) fn unpacked(root: &Path) -> String {
    let libraries = format!("lib/{}-linux-gnu", env::consts::ARCH);
    let below = |path: &str| quoted(&root.join(path));
    format!(
        "#!/bin/sh\n\
         export QEMU_MODULE_DIR={modules}\n\
         export LD_LIBRARY_PATH={usr_libraries}:{libraries}\n\
         exec {program} -L {data} -L {bios} -L {roms} \"$@\"\n",
        modules = below(&format!("usr/{libraries}/qemu")),
        usr_libraries = below(&format!("usr/{libraries}")),
        libraries = below(&libraries),
        program = below(&format!("usr/bin/{PROGRAM}")),
        data = below("usr/share/qemu"),
        bios = below("usr/share/seabios"),
        roms = below("usr/lib/ipxe/qemu"),
    )
}

/// The major and minor version in the output of `--version`.
fn version(said: &str) -> Option<&str> {
    let version = said.strip_prefix("QEMU emulator version ")?;
    let major = version.find('.')?;
    let rest = &version[major + 1..];
    let minor = rest
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(rest.len());
    let both = &version[..=major + minor];
    both.ends_with(|character: char| character.is_ascii_digit())
        .then_some(both)
}

/// After an upgrade of the system, the same launcher in the folder of the older
/// version is wrong.
fn remove_others(launcher: &str, version: &str) {
    let Ok(folders) = fs::read_dir(workspace::target().join("qemu")) else {
        return;
    };
    for folder in folders.flatten() {
        let text = fs::read_to_string(folder.path().join(PROGRAM));
        if folder.file_name() != version && text.is_ok_and(|text| text == launcher) {
            // A folder that stays does no harm.
            let _ = fs::remove_dir_all(folder.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_its_first_two_numbers() {
        assert_eq!(
            version("QEMU emulator version 7.2.18 (Debian 1:7.2+dfsg-7)\nCopyright"),
            Some("7.2")
        );
        assert_eq!(version("QEMU emulator version 10.0"), Some("10.0"));
        for strange in ["", "QEMU emulator version 10", "QEMU emulator version 10."] {
            assert_eq!(version(strange), None);
        }
    }

    #[test]
    fn a_launcher_becomes_the_program() {
        assert_eq!(
            installed(Path::new("/usr/bin/it's")),
            "#!/bin/sh\nexec '/usr/bin/it'\\''s' \"$@\"\n"
        );
        assert!(unpacked(Path::new("/a b")).contains("\nexec '/a b/usr/bin/qemu-system-x86_64' "));
    }
}
