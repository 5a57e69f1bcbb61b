//! Opens a template in a store, or makes it.
//!
//! ```text
//! key -> open? ---------------------------------------------> Template
//!          | no                                       ^
//!          v                                          |
//!      lock KEY.lock (waits for a maker) -> open? yes-+
//!                                             | no
//!                                             v
//!      launch -> set-up -> freeze -> KEY/ -> evict -> open
//! ```

use std::error::Error;
use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use qemu_qmp_engine::{self as engine, operation, timeout_option};

use super::evict::{self, DIGESTS};
use super::lock::{MakerLock, is_named};
use super::{TemplateStore, file, key};
use crate::Machine;
use crate::process::blocking::in_thread;
use crate::spec::MachineBuilder;
use crate::template::files::{ASKED_FOR, USED};
use crate::template::{Template, TemplateError};

/// Opens a template of a store, or makes it; made by
/// [`TemplateStore::template`].
///
/// If the store has no such template, this launches the machine, runs the
/// set-up, and freezes the guest. If another process is making it already, this
/// waits for that. If that process dies, this makes it.
///
/// # Errors
/// [`TemplateError`]. Nothing of a template that was not made is left.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the machine is ended and
/// nothing is left.
#[must_use = "nothing is opened or made until awaited or waited for"]
pub struct MakeTemplate {
    store: TemplateStore,
    machine: MachineBuilder,
    version: String,
    set_up: Option<SetUp>,
    timeout: Option<Duration>,
}

type SetUp = Box<dyn FnOnce(Machine) -> BoxFuture<Result<(), BoxError>> + Send>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type BoxError = Box<dyn Error + Send + Sync>;

impl TemplateStore {
    /// Opens the template of this machine, or makes it. The machine need not be
    /// [freezable](MachineBuilder::freezable).
    ///
    /// The key of the template is a digest of QEMU, of the kernel and the images,
    /// and of the part of the command line that the guest sees. The paths of the
    /// files and the [version](MakeTemplate::version) of the set-up are part of it,
    /// too.
    ///
    /// A template that was damaged, or whose files were touched, is made again. If
    /// it is in use, it stays under another key.
    pub fn template(&self, machine: &MachineBuilder) -> MakeTemplate {
        MakeTemplate {
            store: self.clone(),
            machine: machine.clone(),
            version: String::new(),
            set_up: None,
            timeout: Some(MAKING),
        }
    }
}

impl MakeTemplate {
    /// Brings the guest to the moment at which it is frozen: waits until it has
    /// booted, logs in, starts services. Without it, the guest is frozen before
    /// its first instruction.
    pub fn set_up<F, R>(mut self, set_up: F) -> Self
    where
        F: FnOnce(Machine) -> R + Send + 'static,
        R: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.set_up = Some(Box::new(move |vm| Box::pin(set_up(vm))));
        self
    }

    /// Says which set-up it is: a template of another version is not used.
    /// Nothing else can tell that the code of the set-up has changed.
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.version = version.into();
        self
    }
}

/// It waits up to 10 minutes, for a guest that boots here or in another process.
const MAKING: Duration = Duration::from_secs(600);

timeout_option!(MakeTemplate, timeout);

operation!(MakeTemplate => Result<Template, TemplateError>);

impl MakeTemplate {
    async fn run(self) -> Result<Template, TemplateError> {
        let limit = self.timeout;
        match engine::timeout(limit, self.open_or_make()).await {
            Ok(result) => result,
            Err(engine::Elapsed(limit)) => Err(TemplateError::Timeout { limit }),
        }
    }

    async fn open_or_make(self) -> Result<Template, TemplateError> {
        let directory = self.store.directory.clone();
        let (spec, version) = (self.machine.spec().clone(), self.version.clone());
        let find = move || key::key(&spec, &version, &directory.join(DIGESTS));
        let key = in_thread(find).await;
        let key = key.map_err(file("read the inputs of", &self.store.directory))?;
        let path = self.store.directory.join(&key);
        if let Some(template) = self.open(&path) {
            return Ok(template);
        }
        let store = self.store.directory.clone();
        // The kernel wakes the thread when the lock is free, also by the death
        // of its owner. If nobody waits any more, the thread frees it again.
        let maker = in_thread(move || MakerLock::take(&store, &key)).await;
        let _maker = maker.map_err(file("lock a template in", &self.store.directory))?;
        if let Some(template) = self.open(&path) {
            return Ok(template);
        }
        self.make(&path).await
    }

    /// Opens the template, if it is there and can be used.
    fn open(&self, path: &Path) -> Option<Template> {
        let used = use_lock(path).ok()?;
        // The time is only for the order of removal.
        let _ = used.set_modified(SystemTime::now());
        let opened = Template::open_used(path, &self.machine, Some(used));
        if let Err(error) = &opened {
            engine::log(log::Level::Info, module_path!(), || error.to_string());
        }
        let opened = opened.ok()?;
        // From now on, its name stands for it.
        let asked_for = File::open(path.join(ASKED_FOR));
        if let Err(error) = asked_for.and_then(|it| it.set_modified(SystemTime::now())) {
            let told = file("note the last use of the name of", path)(error);
            engine::log(log::Level::Warn, module_path!(), || told.to_string());
        }
        Some(opened)
    }

    /// Removes a template that cannot be used any more. If it is in use, it gets
    /// another key instead: what runs may need its files, and it goes later, like
    /// any other.
    fn make_room(&self, path: &Path) -> Result<(), TemplateError> {
        let removed = evict::remove_free(path);
        if !removed.map_err(file("remove the old template", path))? {
            let aside = self.store.random_path()?;
            fs::rename(path, &aside).map_err(file("move the old template", path))?;
        }
        Ok(())
    }

    /// Makes the template, while this process has the lock on it.
    async fn make(mut self, path: &Path) -> Result<Template, TemplateError> {
        self.make_room(path)?;
        let machine = self.machine.clone().freezable_in(&self.store.directory);
        let vm = machine.launch().await.map_err(TemplateError::Launch)?;
        if let Some(set_up) = self.set_up.take() {
            let set_up = set_up(vm.clone()).await;
            set_up.map_err(|cause| TemplateError::SetUp(Arc::from(cause)))?;
        }
        if vm.console().has_shell_at_prompt() {
            let prepared = vm.prepare_wake().await;
            prepared.map_err(|cause| TemplateError::SetUp(Arc::new(cause)))?;
        }
        let frozen = vm.freeze().keep_at(path).await?;
        drop(frozen);
        drop(vm);
        let template = self.open(path).ok_or_else(|| TemplateError::Unusable {
            path: path.to_owned(),
            reason: "it was changed while it was made".to_owned(),
        })?;
        self.store.keep_limit();
        Ok(template)
    }
}

/// Locks a template against removal; fails if it is not there.
pub(in crate::template) fn use_lock(path: &Path) -> io::Result<File> {
    let name = path.join(USED);
    // So that it also works in a store that cannot be written.
    let used = File::open(&name)?;
    used.lock_shared()?;
    if is_named(&used, &name)? {
        Ok(used)
    } else {
        Err(io::ErrorKind::NotFound.into())
    }
}
