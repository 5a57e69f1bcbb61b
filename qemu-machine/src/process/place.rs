//! Directories that somebody names: where they are, and whether they are private.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::sys;

/// An absolute path, for a reader that has another working directory, and for
/// this process when it changes its own.
pub(crate) fn absolute(path: impl AsRef<Path>) -> PathBuf {
    let path = path.as_ref();
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// This user's directory of this name, in a directory of all users.
pub(crate) fn of_this_user(shared: &Path, name: &str) -> PathBuf {
    shared.join(format!("{name}-{}", sys::effective_user()))
}

/// Makes a directory, unless it is there. Returns why it is not private, if it
/// is not.
pub(crate) fn make_private(directory: &Path) -> io::Result<Option<&'static str>> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(why_not_private(&directory.symlink_metadata()?)),
    }
}

/// Why this is not a directory of this user alone. The metadata must not be of
/// what a symbolic link names.
pub(crate) fn why_not_private(found: &Metadata) -> Option<&'static str> {
    if !found.is_dir() {
        Some("is not a directory")
    } else if found.uid() != sys::effective_user() {
        Some("belongs to another user")
    } else if found.mode() & 0o077 != 0 {
        Some("is open to other users")
    } else {
        None
    }
}
