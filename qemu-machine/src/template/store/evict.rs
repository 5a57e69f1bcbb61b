//! Which templates go, and how one is removed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;

use super::StoredTemplate;
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
    let lock = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(store.join(format!("{key}.lock")))?;
    if !try_lock(&lock)? {
        return Ok(false);
    }
    let path = store.join(key);
    let used = match File::open(path.join(USED)) {
        Ok(used) => used,
        // It is not complete.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return gone(&path),
        Err(error) => return Err(error),
    };
    if !try_lock(&used)? {
        return Ok(false);
    }
    gone(&path)
}

/// Whether a process has the template open.
pub(super) fn is_in_use(path: &Path) -> io::Result<bool> {
    Ok(!try_lock(&File::open(path.join(USED))?)?)
}

fn gone(path: &Path) -> io::Result<bool> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(true),
    }
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

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
}
