//! Which templates go, and how one is removed.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::StoredTemplate;
use super::lock::{LOCK_ENDING, MakerLock, is_named, try_lock};
use crate::template::files::USED;

/// The keys of the templates that must go, so that the others take at most
/// `limit_bytes`: those that were not used for the longest time. `templates` has
/// the one used last first.
pub(super) fn victims(templates: &[StoredTemplate], limit_bytes: u64) -> Vec<String> {
    let mut total: u64 = templates.iter().map(|it| it.size_bytes).sum();
    let unused = templates.iter().rev().filter(|it| !it.is_in_use);
    let mut victims = Vec::new();
    for template in unused {
        if total <= limit_bytes {
            break;
        }
        total -= template.size_bytes;
        victims.push(template.key.clone());
    }
    victims
}

/// Removes a template. Returns `false` if a process uses or makes it.
pub(super) fn remove(store: &Path, key: &str) -> io::Result<bool> {
    if !super::key::is_key(key) {
        return Ok(false);
    }
    let Some(_lock) = MakerLock::try_take(store, key)? else {
        return Ok(false);
    };
    remove_free(&store.join(key))
}

/// Removes a template, while this process has the lock of its maker. Returns
/// `false` if a process uses it.
pub(super) fn remove_free(path: &Path) -> io::Result<bool> {
    match lock_alone(path) {
        // The lock is held until all is gone.
        Ok(Some(_used)) => gone(path),
        Ok(None) => Ok(false),
        // It is not complete.
        Err(error) if error.kind() == io::ErrorKind::NotFound => gone(path),
        Err(error) => Err(error),
    }
}

/// Locks a template for this process alone; `None` if a process has it open.
fn lock_alone(path: &Path) -> io::Result<Option<File>> {
    let (_turn, used) = take_turn(path)?;
    Ok(try_lock(&used)?.then_some(used))
}

/// Removes what is left of a store that has no templates: the digests of inputs.
/// What else is in their directory stays. It may be the user's own.
pub(super) fn remove_digests(store: &Path) {
    let digests = store.join(DIGESTS);
    for digest in super::key::digests_in(&digests).unwrap_or_default() {
        let _ = fs::remove_file(digest);
    }
    let _ = fs::remove_dir(digests);
}

/// Removes the locks of templates that are not there, and that no process makes.
pub(super) fn remove_locks(store: &Path) {
    let names = fs::read_dir(store).into_iter().flatten().flatten();
    let names = names.filter_map(|it| it.file_name().into_string().ok());
    for name in names {
        let key = name.strip_suffix(LOCK_ENDING);
        if let Some(key) = key.filter(|key| super::key::is_key(key))
            && !store.join(key).exists()
        {
            // Its drop removes it.
            let _ = MakerLock::try_take(store, key);
        }
    }
}

/// Whether a process has the template open, or removes it.
pub(super) fn is_in_use(path: &Path) -> io::Result<bool> {
    let (_turn, used) = take_turn(path)?;
    let is_free = try_lock(&used)?;
    // At once, although a child that another thread starts now may have the file, too.
    used.unlock()?;
    Ok(!is_free)
}

/// Waits for the turn to lock a template alone. Also returns its file to lock.
fn take_turn(path: &Path) -> io::Result<(Turn, File)> {
    loop {
        let directory = File::open(path)?;
        directory.lock()?;
        let turn = Turn(directory);
        let used = File::open(path.join(USED))?;
        // If not, the file may be that of another directory with this name.
        if is_named(&turn.0, path)? {
            return Ok((turn, used));
        }
    }
}

/// A lock on the template's directory. Who tries to lock its file `used` alone takes
/// turns with the others, so that nobody takes them for users of the template.
struct Turn(File);

impl Drop for Turn {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn gone(path: &Path) -> io::Result<bool> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(true),
    }
}

pub(super) const DIGESTS: &str = "digests";

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::{Duration, SystemTime};

    use super::super::use_lock;
    use super::*;

    #[test]
    fn the_least_used_go_first_and_those_in_use_stay() {
        let template = |key: &str, age: u64, is_in_use| StoredTemplate {
            key: key.to_owned(),
            path: key.into(),
            size_bytes: 10,
            used: SystemTime::UNIX_EPOCH + Duration::from_secs(100 - age),
            is_in_use,
        };
        let all = [
            template("new", 1, false),
            template("old", 2, false),
            template("older", 3, true),
            template("oldest", 4, false),
        ];
        assert_eq!(victims(&all, 40), [""; 0]);
        assert_eq!(victims(&all, 39), ["oldest"]);
        assert_eq!(victims(&all, 20), ["oldest", "old"]);
        assert_eq!(victims(&all, 0), ["oldest", "old", "new"]);
        assert_eq!(victims(&[], 0), [""; 0]);
    }

    /// A store with a template, as far as its locks go.
    fn store_with(test: &str, key: &str) -> PathBuf {
        let name = format!("evict-{}-{test}", std::process::id());
        let store = std::env::temp_dir().join(name);
        make_template(&store.join(key));
        store
    }

    fn make_template(path: &Path) {
        fs::create_dir_all(path).unwrap();
        File::create_new(path.join(USED)).unwrap();
    }

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn who_looks_is_no_user() {
        let store = store_with("looks", KEY);
        let path = store.join(KEY);
        let looks = || (0..1000).all(|_| !is_in_use(&path).unwrap());
        thread::scope(|scope| {
            let all = [(); 4].map(|()| scope.spawn(looks));
            assert!(all.into_iter().all(|it| it.join().unwrap()));
        });
        let user = use_lock(&path).unwrap();
        assert!(is_in_use(&path).unwrap());
        drop(user);
        assert!(!is_in_use(&path).unwrap());
        fs::remove_dir_all(&store).unwrap();
    }

    #[test]
    fn who_looks_keeps_nobody_from_removing() {
        let store = store_with("removes", KEY);
        let path = store.join(KEY);
        let has_ended = AtomicBool::new(false);
        let look = || {
            while !has_ended.load(Ordering::Relaxed) {
                let _ = is_in_use(&path);
            }
        };
        let removed = thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(look);
            }
            let removed = (0..200).all(|_| {
                let removed = matches!(remove(&store, KEY), Ok(true));
                if removed {
                    make_template(&path);
                }
                removed
            });
            has_ended.store(true, Ordering::Relaxed);
            removed
        });
        assert!(removed);
        fs::remove_dir_all(&store).unwrap();
    }

    #[test]
    fn only_digests_are_removed_from_a_directory_of_that_name() {
        let store = std::env::temp_dir().join(format!("digests-test-{}", std::process::id()));
        let digests = store.join(DIGESTS);
        let digest = "0123456789abcdef0123456789abcdef";
        fs::create_dir_all(digests.join(format!("{digest}.d"))).unwrap();
        for name in [digest, &format!("{digest}.4711"), "report.txt"] {
            fs::write(digests.join(name), "").unwrap();
        }
        remove_digests(&store);
        let left = fs::read_dir(&digests).unwrap().flatten();
        let mut left: Vec<_> = left.map(|it| it.file_name()).collect();
        left.sort();
        assert_eq!(left, [&format!("{digest}.d"), "report.txt"]);
        fs::remove_dir_all(&store).unwrap();
    }
}
