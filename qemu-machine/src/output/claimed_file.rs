//! Files that machines write, one machine at a time.
//!
//! The writer holds a lock on the file (`flock(2)`), so this also works between
//! processes. The kernel releases it however the writer ends.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use qemu_qmp_engine as engine;

/// A file that no other machine writes until this is dropped.
#[derive(Debug)]
pub(crate) struct ClaimedFile {
    file: File,
    path: PathBuf,
    /// The process with the lock; `None` if the file cannot be locked.
    locked_by: Option<u32>,
}

impl ClaimedFile {
    /// Creates or truncates the file at this path. If another machine is
    /// writing it, this uses the first free name of `NAME~2.EXT`, `NAME~3.EXT`
    /// and so on.
    ///
    /// Only a regular file is claimed, not a terminal, a pipe or `/dev/null`. A
    /// file on a file system without locks is not claimed either.
    pub(crate) fn create(wanted: &Path) -> io::Result<Self> {
        for number in 1..=SAME_NAME_LIMIT {
            let path = numbered(wanted, number);
            if let Some(claimed) = Self::try_create(path)? {
                if number > 1 {
                    engine::log(log::Level::Warn, module_path!(), || {
                        let (wanted, taken) = (wanted.display(), claimed.path.display());
                        format!("another machine is writing {wanted}: this one writes {taken}")
                    });
                }
                return Ok(claimed);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("{SAME_NAME_LIMIT} machines are writing files of this name"),
        ))
    }

    /// `None` if another machine is writing it.
    fn try_create(path: PathBuf) -> io::Result<Option<Self>> {
        let file = File::options()
            .write(true)
            .create(true)
            // Not before the lock.
            .truncate(false)
            // Opening a pipe without a reader would block the engine.
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)?;
        let mut claimed = Self {
            file,
            path,
            locked_by: None,
        };
        if claimed.file.metadata()?.is_file() {
            match claimed.file.try_lock() {
                Ok(()) => claimed.locked_by = Some(std::process::id()),
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(_)) => {}
            }
            claimed.file.set_len(0)?;
        }
        Ok(Some(claimed))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// A fork of this process has the same lock, and would keep it after the end of
/// the machine. So the lock is released, and the file not only closed.
impl Drop for ClaimedFile {
    fn drop(&mut self) {
        if self.locked_by == Some(std::process::id()) {
            // It fails only if there is no lock any more.
            let _ = self.file.unlock();
        }
    }
}

/// The path, or the second, third, ... path for its name.
fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    // Not `-2`: machines of a fleet have such names.
    let mut name = OsString::from(path.file_stem().unwrap_or_default());
    name.push(format!("~{number}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// How many machines may write files of one name.
const SAME_NAME_LIMIT: usize = 10_000;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::process::Command;

    use super::*;

    /// A folder for one test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("claim-test-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(name);
            fs::create_dir(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn a_file_in_use_is_left_alone_and_a_free_one_is_truncated() {
        let folder = Folder::new("busy");
        let path = folder.0.join("node.tar.log");
        fs::write(&path, "of the last run").unwrap();
        let first = ClaimedFile::create(&path).unwrap();
        assert_eq!(first.path(), path);
        first.file().write_all(b"first").unwrap();
        // Also through another name.
        let link = folder.0.join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let second = ClaimedFile::create(&path).unwrap();
        let third = ClaimedFile::create(&link).unwrap();
        assert_eq!(second.path(), folder.0.join("node.tar~2.log"));
        assert_eq!(third.path(), folder.0.join("link~2"));
        assert_eq!(fs::read(&path).unwrap(), b"first");
        drop(first);
        assert_eq!(ClaimedFile::create(&path).unwrap().path(), path);
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn another_process_that_writes_a_file_keeps_it() {
        let folder = Folder::new("process");
        let path = folder.0.join("log");
        let mut other = Command::new("flock")
            .arg(&path)
            .args(["sh", "-c", "echo locked; read end"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = [0; 7];
        io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut output).unwrap();
        let claimed = ClaimedFile::create(&path).unwrap();
        assert_eq!(claimed.path(), folder.0.join("log~2"));
        drop(other.stdin.take());
        other.wait().unwrap();
    }

    #[test]
    fn what_is_no_file_is_shared() {
        let null = Path::new("/dev/null");
        let both = [null; 2].map(|path| ClaimedFile::create(path).unwrap());
        assert!(both.iter().all(|claimed| claimed.path() == null));
    }

    #[test]
    fn the_second_of_a_name_keeps_its_extension() {
        let second = |path: &str| numbered(Path::new(path), 2).display().to_string();
        assert_eq!(second("logs/a.log"), "logs/a~2.log");
        assert_eq!(second("a"), "a~2");
        assert_eq!(second("/x/.hidden"), "/x/.hidden~2");
        assert_eq!(numbered(Path::new("a.log"), 1), Path::new("a.log"));
    }
}
