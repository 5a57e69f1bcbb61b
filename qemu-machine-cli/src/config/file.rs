//! The file itself: where it is, and its text.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Fault;
use crate::failure::Failure;

/// A configuration that was read.
#[derive(Debug)]
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    /// What its paths are relative to; empty if that is the working directory.
    pub(super) directory: PathBuf,
    pub(super) text: String,
}

pub(super) const NAME: &str = "qemu-machine.toml";

impl ConfigFile {
    /// Reads the file that somebody named.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = read_text(path)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
        Ok(Self {
            path: path.to_owned(),
            directory: path.parent().unwrap_or(Path::new("")).to_owned(),
            text,
        })
    }

    /// Reads the nearest file, from the working directory upwards. The search
    /// ends after the home directory, or at the root.
    pub(super) fn find() -> Result<Option<Self>, Failure> {
        let here = std::env::current_dir().map_err(|error| {
            Failure::usage(format!("cannot find the working directory: {error}"))
        })?;
        let home = std::env::home_dir();
        for path in candidates(&here, home.as_deref()) {
            match fs::symlink_metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                _ => check_owner(&path)?,
            }
            // Nobody named it, so nobody writes into a pipe of this name.
            if fs::metadata(&path).is_ok_and(|it| !it.is_file()) {
                let path = path.display();
                return Err(Failure::usage(format!("{path} is not a regular file")));
            }
            return if path.parent() == Some(&*here) {
                Self::read(Path::new(NAME)).map(Some)
            } else {
                Self::read(&path).map(Some)
            };
        }
        Ok(None)
    }

    /// The failure that a fault in it is.
    pub(super) fn fails(&self, fault: &Fault) -> Failure {
        Failure::usage(fault.render(&self.path, &self.text))
    }
}

/// The text of a file, which may have no end.
fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    file.take(LONGEST_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LONGEST_BYTES {
        let limit = LONGEST_BYTES >> 20;
        let reason = format!("it is longer than {limit} MiB");
        return Err(io::Error::new(ErrorKind::FileTooLarge, reason));
    }
    Ok(text)
}

const LONGEST_BYTES: u64 = 1 << 20;

/// The files to look for, the nearest first.
fn candidates(here: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let mut directories: Vec<&Path> = here.ancestors().collect();
    if let Some(last) = directories.iter().position(|it| Some(*it) == home) {
        directories.truncate(last + 1);
    }
    directories.iter().map(|it| it.join(NAME)).collect()
}

/// A file says which programs run. So in a directory such as /tmp, where
/// everybody may write, it must belong to this user or to root.
fn check_owner(path: &Path) -> Result<(), Failure> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let (Ok(file), Ok(directory), Ok(own)) = (
        fs::symlink_metadata(path),
        fs::metadata(directory),
        fs::metadata("/proc/self"),
    ) else {
        return Ok(());
    };
    let is_everybodys = directory.mode() & 0o002 != 0;
    if is_everybodys && ![0, own.uid()].contains(&file.uid()) {
        return Err(Failure::usage(format!(
            "{} belongs to another user, in a directory where everybody may write; --config uses \
             it nevertheless",
            path.display()
        )));
    }
    Ok(())
}

/// Why no file is there, for a message.
pub(super) fn not_found() -> String {
    format!("neither the working directory nor one above it has a {NAME}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_ends_after_the_home_directory_or_at_the_root() {
        let directories = |here: &str, home: &str| {
            let paths = candidates(Path::new(here), Some(Path::new(home)));
            let parents = paths.iter().map(|it| it.parent().unwrap());
            let parents = parents.map(|it| it.to_str().unwrap().to_owned());
            parents.collect::<Vec<_>>()
        };
        assert_eq!(
            directories("/home/a/b", "/home/a"),
            ["/home/a/b", "/home/a"]
        );
        assert_eq!(directories("/srv/b", "/home/a"), ["/srv/b", "/srv", "/"]);
    }
}
