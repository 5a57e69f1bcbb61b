//! Where the history of a machine's lines is kept, and which lines are.

use std::ffi::OsString;
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::SystemTime;

/// The file of this machine's history, which exists then; `None` if it cannot be
/// made. Only this user can read it.
pub(super) fn file(key: &str) -> Option<PathBuf> {
    let folder = folder(std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME"))?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .ok()?;
    let path = folder.join(key);
    let mut options = OpenOptions::new();
    options
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&path)
        .ok()?;
    // Machines come and go, and each can have another address.
    let others = std::fs::read_dir(&folder).ok()?.flatten();
    let others = others.filter_map(|it| Some((it.metadata().ok()?.modified().ok()?, it.path())));
    for old in oldest(others.collect(), FILES_LIMIT) {
        let _ = std::fs::remove_file(old);
    }
    Some(path)
}

/// The files that are older than the newest of this number.
fn oldest(mut files: Vec<(SystemTime, PathBuf)>, limit: usize) -> Vec<PathBuf> {
    files.sort_unstable_by(|a, b| b.cmp(a));
    files.into_iter().skip(limit).map(|it| it.1).collect()
}

/// By the rules of the XDG base directories: a path that is not absolute is not
/// used.
fn folder(state: Option<OsString>, home: Option<OsString>) -> Option<PathBuf> {
    let state = state.map(PathBuf::from).filter(|it| it.is_absolute());
    let home = home.map(PathBuf::from).filter(|it| it.is_absolute());
    let state = state.or_else(|| Some(home?.join(".local/state")))?;
    Some(state.join("qemu-machine/history"))
}

/// The name of a machine's file, by its name or address: what is readable of it,
/// and a number that keeps two apart.
pub(crate) fn key(name: &str) -> String {
    // FNV-1a: the same in every version of this program.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let letter = |it: char| match it {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' => it,
        _ => '-',
    };
    let readable: String = name.chars().map(letter).collect();
    let readable = readable.trim_matches('-');
    let skipped = readable.len().saturating_sub(READABLE_LETTERS);
    format!(
        "{}-{hash:016x}",
        readable[skipped..].trim_start_matches('-')
    )
}

/// Whether a line may be kept: not if it begins with a space, or has a password or
/// a secret.
pub(super) fn is_kept(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let is_secret = ["password", "passwd", "secret"]
        .iter()
        .any(|it| lower.contains(it));
    !is_secret && !line.starts_with(' ') && !line.trim().is_empty()
}

/// How many lines are kept.
pub(super) const LINES_LIMIT: usize = 1000;

/// How many machines have a history.
const FILES_LIMIT: usize = 200;

const READABLE_LETTERS: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_has_a_file_of_its_own() {
        let names = [
            "/run/vm/a.sock",
            "/run/vm-a.sock",
            "a.sock",
            "localhost:4444",
            "é",
            "",
        ];
        let mut keys: Vec<String> = names.iter().map(|it| key(it)).collect();
        assert!(keys[0].starts_with("run-vm-a-sock-"), "{}", keys[0]);
        assert!(keys.iter().all(|it| !it.contains('/') && !it.contains('.')));
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), names.len());
        assert!(key(&"/x".repeat(4096)).len() < 100);
        assert_eq!(key("vm"), key("vm"));
    }

    #[test]
    fn the_folder_is_the_users_own() {
        let path = |text: &str| Some(OsString::from(text));
        let folder = |state, home| folder(state, home).map(|it| it.display().to_string());
        assert_eq!(
            folder(path("/s"), path("/h")).unwrap(),
            "/s/qemu-machine/history"
        );
        let at_home = "/h/.local/state/qemu-machine/history";
        assert_eq!(folder(path("s"), path("/h")).unwrap(), at_home);
        assert_eq!(folder(None, path("/h")).unwrap(), at_home);
        assert_eq!(folder(None, None), None);
    }

    #[test]
    fn the_oldest_files_are_over_the_limit() {
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let files = vec![
            (at(2), "b".into()),
            (at(1), "a".into()),
            (at(3), "c".into()),
        ];
        assert_eq!(oldest(files.clone(), 2), [PathBuf::from("a")]);
        assert!(oldest(files, 3).is_empty());
    }

    #[test]
    fn secrets_are_not_kept() {
        assert!(is_kept("stop"));
        for line in [
            "",
            " stop",
            "set_password protocol=vnc password=x",
            "object-add qom-type=secret",
        ] {
            assert!(!is_kept(line), "{line}");
        }
    }
}
