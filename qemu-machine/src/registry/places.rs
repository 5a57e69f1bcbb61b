//! Where machines are published: the directories of this user.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::RegistryError;
use super::error::MAKE_DIRECTORY;
use crate::process::place::{of_this_user, why_not_private};
use crate::sys;

/// The directories of this user's machines.
#[derive(Debug, Clone)]
pub(super) struct Places {
    /// Where this process publishes.
    own: PathBuf,
    /// Where a process with another environment publishes: a session has
    /// `XDG_RUNTIME_DIR`, and a job of cron has not.
    other: Option<PathBuf>,
    /// How many directories above these are ours too, and must be private.
    above: usize,
}

impl Places {
    pub(super) fn of_this_user() -> Self {
        let fallback = of_this_user(Path::new("/tmp"), NAME);
        match env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
            Some(runtime) if is_usable(&runtime) => Self {
                own: runtime.join(NAME),
                other: Some(fallback),
                above: 0,
            },
            _ => Self {
                own: fallback,
                other: None,
                above: 0,
            },
        }
    }

    /// The directories of this name in these.
    pub(super) fn below(&self, name: &str) -> Self {
        Self {
            own: self.own.join(name),
            other: self.other.as_ref().map(|it| it.join(name)),
            above: self.above + 1,
        }
    }

    /// The directory where this process publishes, whether it exists or not.
    ///
    /// # Errors
    /// It exists, and is not private to this user.
    pub(super) fn own(&self) -> Result<&Path, RegistryError> {
        self.exists(&self.own)?;
        Ok(&self.own)
    }

    /// The same, and makes it.
    pub(super) fn make_own(&self) -> Result<&Path, RegistryError> {
        match DirBuilder::new().mode(0o700).create(&self.own) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(RegistryError::file(MAKE_DIRECTORY, &self.own)(error))
            }
            _ => self.own(),
        }
    }

    /// The directories that exist; the own one comes first.
    ///
    /// # Errors
    /// The own one is not private to this user. Another place that is not is
    /// skipped: this user's machines are not in it.
    pub(super) fn existing(&self) -> Result<Vec<&Path>, RegistryError> {
        let own = self.exists(&self.own)?.then_some(&*self.own);
        let other = self.other.as_deref();
        let other = other.filter(|path| self.exists(path).unwrap_or_default());
        Ok(own.into_iter().chain(other).collect())
    }

    /// Whether one of these directories exists. Those above it are looked at
    /// first: if others can write to those, nothing in them is trusted.
    fn exists(&self, path: &Path) -> Result<bool, RegistryError> {
        let above: Vec<&Path> = path.ancestors().skip(1).take(self.above).collect();
        for directory in above.into_iter().rev() {
            if !exists(directory)? {
                return Ok(false);
            }
        }
        exists(path)
    }
}

/// Whether the session's directory is as its specification demands: absolute,
/// and nobody else can put anything into it.
fn is_usable(runtime: &Path) -> bool {
    runtime.is_absolute()
        && fs::metadata(runtime).is_ok_and(|it| {
            it.is_dir() && it.uid() == sys::effective_user() && it.mode() & 0o022 == 0
        })
}

/// Whether the directory exists.
///
/// # Errors
/// It is not private to this user.
fn exists(path: &Path) -> Result<bool, RegistryError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(RegistryError::file("look at", path)(error)),
    };
    match why_not_private(&found) {
        None => Ok(true),
        Some(reason) => Err(RegistryError::NotPrivate {
            path: path.to_owned(),
            reason,
        }),
    }
}

const NAME: &str = "qemu-machine";

#[cfg(test)]
impl Places {
    pub(super) fn at(own: PathBuf, other: Option<PathBuf>) -> Self {
        Self {
            own,
            other,
            above: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::tests::Scratch;
    use super::*;

    #[test]
    fn a_directory_is_made_for_its_user_alone_and_one_that_is_open_is_refused() {
        let scratch = Scratch::new("places");
        let place = Places::at(scratch.0.join("own"), None);
        assert_eq!(place.existing().unwrap(), [] as [&Path; 0]);
        let made = place.make_own().unwrap();
        assert_eq!(made.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        place.make_own().unwrap();
        fs::set_permissions(made, fs::Permissions::from_mode(0o750)).unwrap();
        let error = place.make_own().unwrap_err();
        assert!(
            error.to_string().contains("is open to other users"),
            "{error}"
        );
        place.existing().unwrap_err();

        let link = scratch.0.join("link");
        symlink(&scratch.0, &link).unwrap();
        let error = Places::at(link.clone(), None).make_own().unwrap_err();
        assert!(error.to_string().contains("is not a directory"), "{error}");
        // As another place, it is not looked into.
        let other = Places::at(scratch.0.join("none"), Some(link));
        assert_eq!(other.existing().unwrap(), [] as [&Path; 0]);
    }

    #[test]
    fn a_directory_in_one_that_is_open_to_others_is_refused() {
        let scratch = Scratch::new("below");
        let place = Places::at(scratch.0.join("own"), None);
        let below = place.below(".pools");
        assert_eq!(below.existing().unwrap(), [] as [&Path; 0]);
        let made = place.make_own().unwrap();
        assert_eq!(below.existing().unwrap(), [] as [&Path; 0]);
        below.make_own().unwrap();
        assert_eq!(below.existing().unwrap().len(), 1);
        fs::set_permissions(made, fs::Permissions::from_mode(0o755)).unwrap();
        for refused in [below.existing().map(drop), below.make_own().map(drop)] {
            let error = refused.unwrap_err().to_string();
            assert!(error.contains("own is open to other users"), "{error}");
        }
        // As another place, it is not looked into.
        let other = Places::at(scratch.0.join("none"), Some(scratch.0.join("own")));
        assert_eq!(other.below(".pools").existing().unwrap(), [] as [&Path; 0]);
    }

    #[test]
    fn a_directory_that_cannot_be_made_comes_with_advice() {
        let place = Places::at(PathBuf::from("/proc/qemu-machine"), None);
        let error = place.make_own().unwrap_err().to_string();
        assert!(
            error.contains("cannot make the directory /proc/"),
            "{error}"
        );
        assert!(error.contains("set XDG_RUNTIME_DIR to"), "{error}");
    }

    #[test]
    fn a_session_s_directory_that_others_can_write_to_is_not_used() {
        let scratch = Scratch::new("runtime");
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(is_usable(&scratch.0));
        fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o770)).unwrap();
        assert!(!is_usable(&scratch.0));
        assert!(!is_usable(Path::new("relative")));
        assert!(!is_usable(&scratch.0.join("missing")));
    }
}
