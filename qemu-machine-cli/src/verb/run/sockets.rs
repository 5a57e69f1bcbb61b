//! The sockets of `--qmp`, which a killed QEMU leaves behind.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Removes at its drop the sockets that QEMU made.
pub(super) struct ServedSockets<'a>(Vec<(&'a Path, Option<Identity>)>);

/// What a file that replaces another one has different.
type Identity = (u64, u64, i64, i64);

impl<'a> ServedSockets<'a> {
    pub(super) fn before_launch(paths: &'a [PathBuf]) -> Self {
        let paths = paths.iter().map(PathBuf::as_path);
        Self(paths.map(|path| (path, socket(path))).collect())
    }
}

impl Drop for ServedSockets<'_> {
    fn drop(&mut self) {
        for (path, before) in &self.0 {
            // A socket that was there before the launch may be that of another.
            let now = socket(path);
            if now.is_some() && now != *before {
                let _ = fs::remove_file(path);
            }
        }
    }
}

fn socket(path: &Path) -> Option<Identity> {
    let file = fs::symlink_metadata(path).ok()?;
    let is_socket = file.file_type().is_socket();
    is_socket.then(|| (file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
}
