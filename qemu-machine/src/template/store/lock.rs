//! The lock of the process that makes or removes a template.
//!
//! Its file is removed with it, unless the template is there: a process that waited
//! for the lock of a removed file tries again.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// This process alone makes or removes the template.
#[derive(Debug)]
pub(super) struct MakerLock {
    path: PathBuf,
    template: PathBuf,
    _file: File,
}

impl MakerLock {
    /// Waits for the lock. The kernel wakes this when it is free, also by the
    /// death of its owner.
    pub(super) fn take(store: &Path, key: &str) -> io::Result<Self> {
        loop {
            let (path, file) = open(store, key)?;
            file.lock()?;
            if is_named(&file, &path)? {
                return Ok(Self::of(store, key, path, file));
            }
        }
    }

    /// The lock; `None` if another process has it.
    pub(super) fn try_take(store: &Path, key: &str) -> io::Result<Option<Self>> {
        let (path, file) = open(store, key)?;
        if try_lock(&file)? && is_named(&file, &path)? {
            return Ok(Some(Self::of(store, key, path, file)));
        }
        Ok(None)
    }

    fn of(store: &Path, key: &str, path: PathBuf, file: File) -> Self {
        Self {
            path,
            template: store.join(key),
            _file: file,
        }
    }
}

impl Drop for MakerLock {
    fn drop(&mut self) {
        if !self.template.exists() {
            // What stays is removed when the store is pruned.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks a file, unless another process has locked it.
pub(super) fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(store: &Path, key: &str) -> io::Result<(PathBuf, File)> {
    let path = store.join(format!("{key}{LOCK_ENDING}"));
    let mut options = File::options();
    options.write(true).create(true).truncate(false);
    let file = options.open(&path)?;
    Ok((path, file))
}

/// Whether the path still names this file.
pub(super) fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match path.symlink_metadata() {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) const LOCK_ENDING: &str = ".lock";
