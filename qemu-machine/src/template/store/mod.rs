//! Templates that are kept on disk, for the processes of one user.
//!
//! ```text
//! DIRECTORY/KEY/           a template; its file `used` is locked (shared) by who has it open
//! DIRECTORY/KEY.lock       locked by the process that makes or removes it
//! DIRECTORY/digests/       digests of large inputs, by path and time
//! DIRECTORY/qemu-machine-… what is being made; the next launch here removes a dead one
//! ```
//!
//! The key is a digest of everything that a template is made of, and of where that
//! is. The kernel releases each lock with its process, however that ends.

mod evict;
mod find;
mod key;
mod lock;
mod make;

use std::fs::{self, DirBuilder};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use qemu_qmp_engine as engine;

use super::TemplateError;
use super::files::USED;
use crate::process::place::{make_private, of_this_user};
use crate::process::runtime_dir;
pub use make::MakeTemplate;
pub(super) use make::use_lock;

/// Templates that are kept on disk, so that many processes boot a guest once.
///
/// # Examples
/// ```no_run
/// use qemu_machine::template::TemplateStore;
/// use qemu_machine::{Console, Machine, Wait};
///
/// let machine = Machine::builder("qemu-system-x86_64")
///     .memory("256M")
///     .kernel("vmlinuz")
///     .initrd("initramfs")
///     .append("console=ttyS0")
///     .console(Console::serial());
/// // The first process boots, others wait for it, later ones clone at once.
/// let store = TemplateStore::user()?;
/// let booted = store.template(&machine).set_up(|vm| async move {
///     vm.console().expect("~ # ").await?;
///     Ok(())
/// });
/// let vm = booted.wait()?.machine().launch().wait()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TemplateStore {
    directory: PathBuf,
    limit_bytes: u64,
}

/// A template in a store.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredTemplate {
    /// Its key, which is the name of its directory.
    pub key: String,
    /// Its directory.
    pub path: PathBuf,
    /// The disk space that it takes.
    pub size_bytes: u64,
    /// When it was opened last.
    pub used: SystemTime,
    /// Whether a process has it open.
    pub is_in_use: bool,
}

impl TemplateStore {
    /// Opens the store of this user:
    /// `$XDG_CACHE_HOME/qemu-machine/templates`, or the same in `~/.cache`.
    /// Without a home, it is in a private directory with the user's number, in
    /// the directory for temporary files.
    ///
    /// # Errors
    /// As for [`at`](Self::at).
    pub fn user() -> Result<Self, TemplateError> {
        let absolute = |name| std::env::var_os(name).map(PathBuf::from);
        let absolute = |name| absolute(name).filter(|path| path.is_absolute());
        let cache = absolute("XDG_CACHE_HOME");
        let cache = cache.or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        let cache = cache.map_or_else(without_home, Ok)?;
        Self::at(cache.join("qemu-machine/templates"))
    }

    /// Opens a store in this directory, and makes the directory if it is
    /// missing. The memory of guests is in it, so only its owner can enter. What
    /// a clone runs is in it, too, so a directory that every user can write to is
    /// refused.
    ///
    /// # Errors
    /// [`TemplateError::File`], if the directory cannot be made, or is refused.
    pub fn at(directory: impl Into<PathBuf>) -> Result<Self, TemplateError> {
        let directory = directory.into();
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&directory);
        let whole = made.and_then(|()| directory.canonicalize());
        let whole = whole.map_err(file("make the store", &directory))?;
        let found = whole.metadata().map_err(file("look at", &whole))?;
        if found.mode() & 0o002 != 0 {
            let refused = refused("every user can write to it");
            return Err(file("use the store", &whole)(refused));
        }
        Ok(Self {
            directory: whole,
            limit_bytes: LIMIT_BYTES,
        })
    }

    /// Sets the disk space that the templates may take, instead of 8 GiB. When
    /// one is made, those that were not used for the longest time are removed. A
    /// template in use stays.
    pub fn limit_bytes(mut self, limit: u64) -> Self {
        self.limit_bytes = limit;
        self
    }

    /// The directory of the store.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// A path for a template that is not made by [`template`](Self::template),
    /// but kept here by [`Freeze::keep_at`](super::Freeze::keep_at). Nothing is
    /// there yet. The machine must be
    /// [freezable in](crate::MachineBuilder::freezable_in) this store.
    ///
    /// Templates go now if the store takes more than its limit, and not when the
    /// new one is there: somebody wants that one.
    ///
    /// # Errors
    /// [`TemplateError::File`], if the host gives no random bytes.
    pub fn unused_path(&self) -> Result<PathBuf, TemplateError> {
        self.keep_limit();
        self.random_path()
    }

    /// A path at which nothing is.
    fn random_path(&self) -> Result<PathBuf, TemplateError> {
        let mut bytes = [0; 16];
        let random = Path::new("/dev/urandom");
        let read = fs::File::open(random).and_then(|mut it| it.read_exact(&mut bytes));
        read.map_err(file("read", random))?;
        Ok(self
            .directory
            .join(format!("{:032x}", u128::from_le_bytes(bytes))))
    }

    /// Lists the templates, the one used last first.
    ///
    /// # Errors
    /// [`TemplateError::File`], if the directory cannot be read.
    pub fn list(&self) -> Result<Vec<StoredTemplate>, TemplateError> {
        let entries = fs::read_dir(&self.directory);
        let entries = entries.map_err(file("read the store", &self.directory))?;
        let names = entries.flatten().map(|entry| entry.file_name());
        let names = names.filter_map(|name| name.into_string().ok());
        let mut templates: Vec<_> = names
            .filter(|name| key::is_key(name))
            .filter_map(|key| self.look(key).ok())
            .collect();
        templates.sort_by_key(|template| std::cmp::Reverse(template.used));
        Ok(templates)
    }

    /// Removes a template, unless a process has it open. Returns whether it is
    /// gone.
    ///
    /// # Errors
    /// [`TemplateError::File`], if it cannot be removed.
    pub fn remove(&self, key: &str) -> Result<bool, TemplateError> {
        let removed = evict::remove(&self.directory, key);
        removed.map_err(file("remove the template", &self.directory.join(key)))
    }

    /// Removes the templates that were used least, until those left take at most
    /// this disk space. Returns their keys. Also removes what processes left that
    /// died while they made a template. With 0, nothing of the store stays if no
    /// template is in use.
    ///
    /// # Errors
    /// [`TemplateError::File`], if the store cannot be read.
    /// [`TemplateError::NotPruned`], if a template cannot be removed; the others
    /// are removed.
    pub fn prune(&self, limit_bytes: u64) -> Result<Vec<String>, TemplateError> {
        runtime_dir::sweep(&self.directory);
        let victims = evict::victims(&self.list()?, limit_bytes);
        let (mut removed, mut failures) = (Vec::new(), Vec::new());
        for key in victims {
            match self.remove(&key) {
                Ok(true) => removed.push(key),
                // Somebody uses it since.
                Ok(false) => {}
                Err(error) => failures.push(error),
            }
        }
        evict::remove_locks(&self.directory);
        if limit_bytes == 0 && self.list()?.is_empty() {
            evict::remove_digests(&self.directory);
        }
        if failures.is_empty() {
            Ok(removed)
        } else {
            Err(TemplateError::NotPruned { removed, failures })
        }
    }

    /// Removes what is over the limit. If that fails, the store is only too large.
    fn keep_limit(&self) {
        if let Err(error) = self.prune(self.limit_bytes) {
            engine::log(log::Level::Warn, module_path!(), || error.to_string());
        }
    }

    fn look(&self, key: String) -> io::Result<StoredTemplate> {
        let path = self.directory.join(&key);
        let used = path.join(USED).metadata()?.modified()?;
        let mut size_bytes = 0;
        for entry in fs::read_dir(&path)? {
            size_bytes += entry?.metadata()?.blocks() * 512;
        }
        Ok(StoredTemplate {
            is_in_use: evict::is_in_use(&path)?,
            key,
            path,
            size_bytes,
            used,
        })
    }
}

/// The directory for caches of a user without a home. Everybody can make it, so
/// it must be this user's.
fn without_home() -> Result<PathBuf, TemplateError> {
    let directory = of_this_user(&std::env::temp_dir(), "qemu-machine-cache");
    let made = make_private(&directory);
    match made.map_err(file("make the store in", &directory))? {
        None => Ok(directory),
        Some(reason) => {
            let refused = refused(&format!("it {reason}; set XDG_CACHE_HOME or HOME"));
            Err(file("use the store in", &directory)(refused))
        }
    }
}

fn refused(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

fn file<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> TemplateError + 'a {
    move |cause| TemplateError::File {
        action,
        path: path.to_owned(),
        cause: cause.into(),
    }
}

const LIMIT_BYTES: u64 = 8 << 30;
