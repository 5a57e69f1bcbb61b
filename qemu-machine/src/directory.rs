//! A machine's private directory.
//!
//! Its owner holds a lock on the directory itself, which the kernel lets go
//! however the owner ends. So a directory that can be locked is nobody's, and
//! the next launch sweeps it away.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use qemu_qmp::engine;

use crate::sys;

/// A directory that only we may enter (mode 0700), removed when dropped.
#[derive(Debug)]
pub(crate) struct PrivateDirectory {
    path: PathBuf,
    _lock: File,
    removed: bool,
}

impl PrivateDirectory {
    /// Makes a directory under `base`, and sweeps there what machines of
    /// programs that died have left.
    pub(crate) fn create(base: &Path) -> io::Result<Self> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        sweep(base);
        loop {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            // The lock, not the name, tells whose it is; the name only has to
            // be free, also where process ids of several containers meet.
            let path = base.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match DirBuilder::new().mode(MODE).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            match lock(&path) {
                Ok(Some(lock)) => {
                    held().insert(path.clone());
                    return Ok(Self {
                        path,
                        _lock: lock,
                        removed: false,
                    });
                }
                // Between the two calls a sweep took it for a dead one's.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    // The error that is told is the first.
                    let _ = fs::remove_dir(&path);
                    return Err(error);
                }
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directory and all in it, and says if that failed.
    pub(crate) fn remove(mut self) -> io::Result<()> {
        self.removed = true;
        remove(&self.path)
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        held().remove(&self.path);
        if !self.removed {
            // Where it cannot be removed now, a later sweep does it.
            let _ = remove(&self.path);
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Locks a directory that is one of ours; `None` where its owner lives, it was
/// removed, or somebody else made it.
fn lock(path: &Path) -> io::Result<Option<File>> {
    // What is no directory is not opened: a pipe would be waited for.
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let directory = File::options().read(true).custom_flags(flags).open(path)?;
    let held = directory.metadata()?;
    if held.uid() != sys::effective_user() || held.mode() & 0o7777 != MODE {
        return Ok(None);
    }
    match directory.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    let named = fs::symlink_metadata(path)?;
    let same = (held.dev(), held.ino()) == (named.dev(), named.ino());
    Ok(same.then_some(directory))
}

/// The directories of this process. A sweep passes them over without a look, as
/// with a thousand machines the looks would take longer than the launch.
fn held() -> MutexGuard<'static, HashSet<PathBuf>> {
    static HELD: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the directories whose owners are dead. What cannot be removed is
/// left to a later sweep.
fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        if is_name_of_ours(&entry.file_name())
            && !held().contains(&entry.path())
            && let Ok(Some(_lock)) = lock(&entry.path())
        {
            engine::log(log::Level::Info, module_path!(), || {
                format!("removing {}, whose owner has died", entry.path().display())
            });
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Whether it is made of the prefix and two numbers: other programs may have
/// names that begin like ours.
fn is_name_of_ours(name: &OsStr) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.to_str()
        .and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'))
        .is_some_and(|(process, number)| is_number(process) && is_number(number))
}

/// Nobody but the owner may look in.
const MODE: u32 = 0o700;

const PREFIX: &str = "qemu-machine-";

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    /// A base directory of the test's own.
    struct Base(PathBuf);

    impl Base {
        fn new(name: &str) -> Self {
            let path =
                std::env::temp_dir().join(format!("directory-test-{}-{name}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Base {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn it_is_private_and_goes_when_dropped() {
        let base = Base::new("private");
        let directory = PrivateDirectory::create(&base.0).unwrap();
        let path = directory.path().to_owned();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(path.join("file"), "x").unwrap();
        drop(directory);
        assert!(!path.exists());
    }

    #[test]
    fn the_next_one_sweeps_the_dead_and_spares_the_living() {
        let base = Base::new("sweep");
        let living = PrivateDirectory::create(&base.0).unwrap();
        let dead = base.0.join(format!("{PREFIX}1-1"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("log"), "x").unwrap();
        fs::set_permissions(&dead, fs::Permissions::from_mode(MODE)).unwrap();
        let strangers = [
            "else",
            "qemu-machine-cli",
            "qemu-machine-1-2-old",
            "qemu-machine-2-2",
        ];
        for stranger in strangers {
            fs::create_dir(base.0.join(stranger)).unwrap();
        }
        // Neither may what is no directory keep a launch waiting.
        let pipe = base.0.join("qemu-machine-3-3");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let next = PrivateDirectory::create(&base.0).unwrap();
        assert!(living.path().exists() && next.path().exists() && pipe.exists());
        assert!(
            strangers
                .iter()
                .all(|stranger| base.0.join(stranger).exists())
        );
        assert!(!dead.exists());
    }
}
