//! The private files of a machine: a directory, or only a log.
//!
//! Its owner holds a lock on the directory or file, and the kernel releases it
//! however the owner ends. So an unlocked one has no owner, and the next launch
//! removes it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use qemu_qmp_engine as engine;

use crate::sys;

/// A directory that only this user can enter, removed when dropped.
#[derive(Debug)]
pub(crate) struct PrivateDirectory {
    place: Place,
    _lock: File,
}

/// A log that only this user can read, removed when dropped. It is for a
/// machine that needs nothing else: to remove a directory may cost more than
/// the rest of the end.
#[derive(Debug)]
pub(crate) struct PrivateLog(Place);

impl PrivateDirectory {
    /// Makes a directory under `base`, and removes there what dead programs
    /// left.
    pub(crate) fn create(base: &Path) -> io::Result<Self> {
        let (place, lock) = Place::make(base, Kind::Directory, "")?;
        Ok(Self { place, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.place.path
    }

    /// Gives the directory another name, under which it stays. That name must
    /// be free, and on the same file system. If that fails, the directory is
    /// removed.
    pub(crate) fn keep_at(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.place.path, path)?;
        self.place.removed = true;
        Ok(())
    }

    /// Removes the directory and its content.
    pub(crate) fn remove(self) -> io::Result<()> {
        self.place.remove()
    }
}

impl PrivateLog {
    /// Makes a log under `base` with `name` in its file name, and removes what
    /// dead programs left. The open file holds the lock.
    pub(crate) fn create(base: &Path, name: &str) -> io::Result<(Self, File)> {
        // As much of it as every file system accepts.
        let name: String = name.chars().take(NAME_LIMIT).collect();
        let (place, file) = Place::make(base, Kind::Log, &format!("-{name}{LOG_SUFFIX}"))?;
        Ok((Self(place), file))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Removes the log.
    pub(crate) fn remove(self) -> io::Result<()> {
        self.0.remove()
    }
}

/// A path that this process owns.
#[derive(Debug)]
struct Place {
    path: PathBuf,
    kind: Kind,
    removed: bool,
}

impl Place {
    /// Also returns the file that holds the lock.
    fn make(base: &Path, kind: Kind, suffix: &str) -> io::Result<(Self, File)> {
        static MADE: AtomicU64 = AtomicU64::new(0);
        sweep_if_due(base);
        loop {
            let number = MADE.fetch_add(1, Ordering::Relaxed);
            // The lock shows the owner, not the name. The name must only be
            // free, even if the process ids of several containers are equal.
            let name = format!("{PREFIX}{}-{number}{suffix}", std::process::id());
            let path = base.join(name);
            match kind.create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            match kind.lock(&path) {
                Ok(Some(lock)) => {
                    own_paths().insert(path.clone());
                    let place = Self {
                        path,
                        kind,
                        removed: false,
                    };
                    return Ok((place, lock));
                }
                // Between the two calls, a sweep took it for a dead one.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    // The first error is reported.
                    let _ = kind.remove(&path);
                    return Err(error);
                }
            }
        }
    }

    fn remove(mut self) -> io::Result<()> {
        self.removed = true;
        self.kind.remove(&self.path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        own_paths().remove(&self.path);
        if !self.removed {
            // If it cannot be removed now, a later sweep removes it.
            let _ = self.kind.remove(&self.path);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    Log,
}

impl Kind {
    /// Finds the kind from a name: the prefix, two numbers, and for a log its
    /// suffix. Other programs may have names with the same start.
    fn of(name: &OsStr) -> Option<Self> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (process, rest) = name.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
        let (number, kind) = match rest.split_once('-') {
            Some((number, name)) => (number, name.ends_with(LOG_SUFFIX).then_some(Self::Log)?),
            None => (rest, Self::Directory),
        };
        (is_number(process) && is_number(number)).then_some(kind)
    }

    /// Only the owner may look in.
    fn mode(self) -> u32 {
        match self {
            Self::Directory => 0o700,
            Self::Log => 0o600,
        }
    }

    fn create(self, path: &Path) -> io::Result<()> {
        match self {
            Self::Directory => DirBuilder::new().mode(self.mode()).create(path),
            Self::Log => {
                let mut new = File::options();
                new.write(true).create_new(true).mode(self.mode());
                new.open(path).map(drop)
            }
        }
    }

    /// Locks one of ours; `None` if its owner lives, or it was removed. Fails
    /// if another user made it, or if its file system has no modes: then
    /// nothing is private.
    fn lock(self, path: &Path) -> io::Result<Option<File>> {
        // Opening a pipe would block, and so would writing to it.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let mut options = File::options();
        match self {
            Self::Directory => options.read(true).custom_flags(flags | libc::O_DIRECTORY),
            Self::Log => options.write(true).custom_flags(flags),
        };
        let file = options.open(path)?;
        let opened = file.metadata()?;
        let is_kind = match self {
            Self::Directory => opened.is_dir(),
            Self::Log => opened.is_file(),
        };
        // The base directory may pass its group on, by its set-group-ID bit.
        let is_ours = opened.uid() == sys::effective_user() && opened.mode() & 0o777 == self.mode();
        if !is_kind || !is_ours {
            let why = "files made there are not private to their owner";
            return Err(io::Error::other(why));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let named = fs::symlink_metadata(path)?;
        let same = (opened.dev(), opened.ino()) == (named.dev(), named.ino());
        Ok(same.then_some(file))
    }

    fn remove(self, path: &Path) -> io::Result<()> {
        let removed = match self {
            Self::Directory => fs::remove_dir_all(path),
            Self::Log => fs::remove_file(path),
        };
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

/// The paths of this process. A sweep skips them.
fn own_paths() -> MutexGuard<'static, HashSet<PathBuf>> {
    static OWN_PATHS: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);
    OWN_PATHS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sweeps before each launch; with N > 32 paths, only before about every
/// N/32nd. A sweep lists all of them, so its cost would grow with the number of
/// machines.
fn sweep_if_due(base: &Path) {
    static LAUNCHES: AtomicU64 = AtomicU64::new(0);
    let launch = LAUNCHES.fetch_add(1, Ordering::Relaxed);
    let ours = own_paths().len();
    if is_due(launch, ours) {
        sweep(base);
    }
}

fn is_due(launch: u64, ours: usize) -> bool {
    launch.is_multiple_of(1 + ours as u64 / FEW)
}

/// Removes what dead owners left. A later sweep gets what cannot be removed.
pub(crate) fn sweep(base: &Path) {
    let Ok(entries) = fs::read_dir(base) else {
        return;
    };
    for entry in entries.flatten() {
        if let Some(kind) = Kind::of(&entry.file_name())
            && !own_paths().contains(&entry.path())
            && let Ok(Some(_lock)) = kind.lock(&entry.path())
        {
            engine::log(log::Level::Info, module_path!(), || {
                format!("removing {}, whose owner has died", entry.path().display())
            });
            let _ = kind.remove(&entry.path());
        }
    }
}

/// A sweep over this number of paths costs almost nothing.
const FEW: u64 = 32;

const PREFIX: &str = "qemu-machine-";

const LOG_SUFFIX: &str = ".log";

/// The limit of the name in a log, in characters of up to 4 bytes.
const NAME_LIMIT: usize = 50;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    use super::*;

    /// A base directory for one test.
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
    fn a_base_that_hands_its_group_on_is_as_good() {
        let base = Base::new("group");
        fs::set_permissions(&base.0, fs::Permissions::from_mode(0o2775)).unwrap();
        let path = {
            let directory = PrivateDirectory::create(&base.0).unwrap();
            directory.path().to_owned()
        };
        assert!(!path.exists());
        drop(PrivateLog::create(&base.0, "log").unwrap());
    }

    #[test]
    fn a_log_alone_is_private_too_and_has_as_much_of_the_name_as_there_is_room_for() {
        let base = Base::new("log");
        let (log, file) = PrivateLog::create(&base.0, &"\u{1f600}".repeat(100)).unwrap();
        let path = log.path().to_owned();
        assert!(path.to_str().unwrap().ends_with("\u{1f600}.log"));
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        drop((log, file));
        assert!(!path.exists());
    }

    #[test]
    fn each_launch_sweeps_or_of_many_one_in_a_while() {
        let sweeps = |ours| (0..1000).filter(|&launch| is_due(launch, ours)).count();
        assert_eq!([0, 1, 31].map(sweeps), [1000; 3]);
        assert_eq!([32, 1000].map(sweeps), [500, 32]);
    }

    #[test]
    fn the_next_one_sweeps_the_dead_and_spares_the_living() {
        let base = Base::new("sweep");
        let living = PrivateDirectory::create(&base.0).unwrap();
        let living_log = PrivateLog::create(&base.0, "living").unwrap();
        let logs = ["1-2-dead", "1-3-", "1-4-of-others"];
        let logs = logs.map(|name| base.0.join(format!("{PREFIX}{name}.log")));
        for log in &logs {
            fs::write(log, "x").unwrap();
            fs::set_permissions(log, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let [dead_log, dead_nameless, others] = logs;
        fs::set_permissions(&others, fs::Permissions::from_mode(0o644)).unwrap();
        // A file that is not private is not taken for one.
        assert!(Kind::Log.lock(&others).is_err());
        let dead = base.0.join(format!("{PREFIX}1-1"));
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("log"), "x").unwrap();
        fs::set_permissions(&dead, fs::Permissions::from_mode(0o700)).unwrap();
        let strangers = [
            "else",
            "qemu-machine-cli",
            "qemu-machine-1-2-old",
            "qemu-machine-2-2",
            "qemu-machine-2-3-x.log",
        ];
        for stranger in strangers {
            let stranger = base.0.join(stranger);
            fs::create_dir(&stranger).unwrap();
            fs::set_permissions(&stranger, fs::Permissions::from_mode(0o755)).unwrap();
        }
        // What is not a directory must not block a launch.
        let pipes = ["qemu-machine-3-3", "qemu-machine-3-4-x.log"].map(|it| base.0.join(it));
        assert!(
            Command::new("mkfifo")
                .args(["-m", "600"])
                .args(&pipes)
                .status()
                .unwrap()
                .success()
        );
        let next = PrivateDirectory::create(&base.0).unwrap();
        assert!(living.path().exists() && next.path().exists());
        assert!(living_log.0.path().exists() && others.exists());
        assert!(pipes.iter().all(|pipe| pipe.exists()));
        assert!(
            strangers
                .iter()
                .all(|stranger| base.0.join(stranger).exists())
        );
        assert!(!dead.exists() && !dead_log.exists() && !dead_nameless.exists());
    }
}
