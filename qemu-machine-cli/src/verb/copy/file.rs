//! This side of a copy: a file of ours, or a standard stream.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::exit::Outcome;
use crate::failure::Failure;

/// A file that was read.
pub(super) struct FileOfOurs {
    pub(super) bytes: Vec<u8>,
    /// `None` for standard input.
    pub(super) mode: Option<u32>,
}

pub(super) fn read(path: &Path) -> Result<FileOfOurs, Failure> {
    let mut bytes = Vec::new();
    if path.as_os_str() == "-" {
        let read = io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(|error| {
            let message = format!("cannot read standard input: {error}");
            Failure::new(Outcome::Broken, message)
        })?;
        return Ok(FileOfOurs { bytes, mode: None });
    }
    let read = || -> io::Result<FileOfOurs> {
        let mut file = File::open(path)?;
        let mode = file.metadata()?.permissions().mode() & 0o7777;
        file.read_to_end(&mut bytes)?;
        let mode = Some(mode);
        Ok(FileOfOurs { bytes, mode })
    };
    read().map_err(|error| Failure::file("read", path, &error))
}

/// Writes a file of ours; into a directory, by the name of its source.
pub(super) fn write(
    to: &Path,
    source: &Path,
    bytes: &[u8],
    mode: Option<u32>,
) -> Result<(), Failure> {
    let path: PathBuf = match source.file_name() {
        Some(name) if to.is_dir() => to.join(name),
        _ => to.to_owned(),
    };
    let write = || -> io::Result<()> {
        let mut file = File::create(&path)?;
        file.write_all(bytes)?;
        match mode {
            // Not those that make it run as its owner: it has another one here.
            Some(mode) => fs::set_permissions(&path, Permissions::from_mode(mode & 0o777)),
            None => Ok(()),
        }
    };
    write().map_err(|error| Failure::file("write", &path, &error))
}
