//! Freezes a machine: it ends, and becomes a template.
//!
//! ```text
//! pause -> state of the devices into a new directory -> memory and disks into it
//!   -> end QEMU -> stamps and manifest -> to the disk, if it is kept -> Template
//! a failure before the end of QEMU: everything back, the guest goes on
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use qemu_qmp::Client;
use qemu_qmp::error::MigrationError;
use qemu_qmp_engine::{operation, timeout_option};
use serde_json::json;

use super::clone::Template;
use super::description;
use super::error::TemplateError;
use super::files::{ASKED_FOR, Files, USED};
use super::host_cpu::host_cpu;
use super::manifest::Manifest;
use crate::Machine;
use crate::machine::Inner;
use crate::machine::freezable::Freezable;
use crate::machine::hardware::Hardware;
use crate::machine::migration::MigrationTurn;
use crate::machine::migration::MoveError;
use crate::machine::migration::operation::{self, GivenUp};
use crate::machine::migration::source::Source;
use crate::process::blocking::in_thread;
use crate::process::digest::Digest;
use crate::process::place::absolute;
use crate::process::runtime_dir::PrivateDirectory;
use crate::process::stamp::Stamp;
use crate::spec::MachineSpec;
use crate::spec::image::{FrozenShell, STATE, guest_words};

impl Machine {
    /// Freezes the guest, and ends this machine: its memory, devices and disks
    /// become a [`Template`], of which machines are cloned. The machine must be
    /// launched with [`freezable`](crate::MachineBuilder::freezable).
    ///
    /// The guest is paused first. Some devices cannot be saved, such as a
    /// mounted 9p folder: then this fails with the reason of QEMU, and the guest
    /// resumes its earlier state.
    pub fn freeze(&self) -> Freeze {
        Freeze {
            machine: self.clone(),
            path: None,
            name: None,
            timeout: self.deadlines().limit(),
        }
    }
}

/// Freezes a machine; made by [`Machine::freeze`].
///
/// # Errors
/// [`TemplateError`]. If the machine has not ended, the guest resumes its
/// earlier state.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the freezing is cancelled and
/// the guest resumes its earlier state, unless the machine is ending already.
#[derive(Debug)]
#[must_use = "nothing is frozen until awaited or waited for"]
pub struct Freeze {
    machine: Machine,
    path: Option<PathBuf>,
    name: Option<String>,
    timeout: Option<Duration>,
}

impl Freeze {
    /// Keeps the template in this directory, which must not exist, and which is
    /// on the file system of the machine's private directory. Without it, the
    /// files are removed with the last handle on the template.
    pub fn keep_at(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(absolute(path.into()));
        self
    }
}

impl Freeze {
    /// Sets the name of the template, instead of the machine's.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }
}

timeout_option!(Freeze, timeout);

operation!(Freeze => Result<Template, TemplateError>);

impl Freeze {
    async fn run(self) -> Result<Template, TemplateError> {
        let Self {
            machine,
            path,
            name,
            timeout,
        } = self;
        let inner = &machine.inner;
        let (Some(launched), Some(directory)) = (&inner.freezable, &inner.directory) else {
            return Err(TemplateError::NotFreezable {
                machine: inner.name.clone(),
            });
        };
        let is_at_prompt = machine.console.has_shell_at_prompt();
        let is_prepared = inner.is_prepared.load(Ordering::Relaxed);
        // Before the pause: a failure leaves the guest as it was.
        let qemu = running_program(inner).transpose()?;
        let saving = Saving {
            qmp: machine.monitor().clone(),
            launched: Arc::clone(launched),
            turn: inner.migration_turn.clone(),
            from: directory.clone(),
            keep_at: path.clone(),
        };
        let save = |given_up| saving.run(given_up);
        let saved = operation::run(&machine, "freeze its guest", timeout, save).await?;
        // The guest must never run again: it would change the memory of clones.
        machine.kill().await.map_err(TemplateError::Shutdown)?;
        let shell = FrozenShell {
            is_at_prompt,
            // The question may have come with the last output.
            has_asked_for_cursor: is_at_prompt && machine.console.has_shell_asked_for_cursor(),
            is_prepared,
        };
        let mut spec = launched.spec.clone();
        if name.is_some() {
            spec.name = name;
        }
        let launched = Arc::clone(launched);
        let complete = move || Ok(saved.complete(spec, &launched, qemu, shell, path));
        let no_thread = file("start a thread for", directory);
        in_thread(complete).await.map_err(no_thread)?
    }
}

/// Runs on the engine, so it must not own a machine.
struct Saving {
    qmp: Client,
    launched: Arc<Freezable>,
    turn: MigrationTurn,
    /// The private directory of the machine.
    from: PathBuf,
    keep_at: Option<PathBuf>,
}

/// A guest whose files are in a directory of their own.
struct Saved {
    directory: PrivateDirectory,
    names: Vec<String>,
    guest_ran: bool,
    version: String,
}

impl Saving {
    async fn run(self, given_up: GivenUp) -> Result<Option<Saved>, TemplateError> {
        let Some(_turn) = given_up.or(self.turn.lock()).await else {
            return Ok(None);
        };
        // What can fail later must not, because then the guest has ended.
        if let Some(path) = &self.keep_at {
            let free = check_free(path, &self.from);
            free.map_err(file("keep a template at", path))?;
        }
        if let Some((path, cause)) = self.launched.changed() {
            return Err(match cause {
                Some(cause) => file("read", path)(cause),
                None => TemplateError::InputChanged {
                    path: path.to_owned(),
                },
            });
        }
        let Some(checked) = given_up.or(self.check_hardware()).await else {
            return Ok(None);
        };
        checked?;
        // On the file system of the private directory, so that files can be
        // moved.
        let parent = self.from.parent().unwrap_or(Path::new("/"));
        let directory = PrivateDirectory::create(parent);
        let directory = directory.map_err(file("make a directory in", parent))?;
        let state = directory.path().join(STATE);
        let state_file = File::create_new(&state).map_err(file("make", &state))?;
        let source = Source::pause(&self.qmp, false).await.map_err(executed)?;
        let saved = match given_up.or(self.save(state_file)).await {
            None => None,
            Some(Ok(())) => Some(self.move_files(directory, source.ran())),
            Some(Err(error)) => Some(Err(error)),
        };
        let saved = saved.transpose();
        if !matches!(saved, Ok(Some(_))) {
            source.cancel().await;
            let _ = self.ignore_shared(false).await;
            source.resume().await;
        }
        saved
    }

    /// A clone is launched with the devices and media of the command line.
    async fn check_hardware(&self) -> Result<(), TemplateError> {
        let now = Hardware::ask(&self.qmp).await.map_err(executed)?;
        let launched = self.launched.hardware.get();
        match launched.and_then(|launched| launched.change(&now)) {
            Some(change) => Err(TemplateError::HardwareChanged { change }),
            None => Ok(()),
        }
    }

    /// Saves the state of the devices, without the memory: it is in its file.
    async fn save(&self, state: File) -> Result<(), TemplateError> {
        self.ignore_shared(true).await?;
        let saved = self.qmp.migrate_over(state).timeout(None).await;
        saved.map_err(MoveError::from)?;
        Ok(())
    }

    async fn ignore_shared(&self, on: bool) -> Result<(), TemplateError> {
        let set = json!({"capabilities": [{"capability": "x-ignore-shared", "state": on}]});
        let set = self.qmp.execute_json("migrate-set-capabilities", set);
        set.timeout(None).await.map(drop).map_err(executed)
    }

    /// Moves the memory and the disks to the state. Either all are moved, or
    /// none.
    fn move_files(
        &self,
        directory: PrivateDirectory,
        guest_ran: bool,
    ) -> Result<Saved, TemplateError> {
        let names = &self.launched.files;
        for (index, name) in names.iter().enumerate() {
            let to = directory.path().join(name);
            if let Err(cause) = fs::rename(self.from.join(name), &to) {
                for name in &names[..index] {
                    let _ = fs::rename(directory.path().join(name), self.from.join(name));
                }
                return Err(file("move a file of the guest to", &to)(cause));
            }
        }
        let version = self.qmp.greeting().and_then(|it| it.version.clone());
        Ok(Saved {
            directory,
            names: names.iter().cloned().chain([STATE.to_owned()]).collect(),
            guest_ran,
            version: version.map(|it| it.to_string()).unwrap_or_default(),
        })
    }
}

impl Saved {
    /// Describes the template, after the end of QEMU. Blocks while files are
    /// written to the disk.
    fn complete(
        self,
        spec: MachineSpec,
        launched: &Freezable,
        qemu: Option<(PathBuf, Stamp)>,
        shell: FrozenShell,
        keep_at: Option<PathBuf>,
    ) -> Result<Template, TemplateError> {
        let directory = self.directory.path().to_owned();
        let state = directory.join(STATE);
        let files = self.names.into_iter().map(|name| {
            let path = directory.join(&name);
            Stamp::of(&path)
                .map(|stamp| (name, stamp))
                .map_err(file("read", &path))
        });
        let state_digest = Digest::of_file(&state).map_err(file("read", &state))?;
        let manifest = Manifest {
            guest_ran: self.guest_ran,
            shell,
            version: self.version,
            guest_words: guest_words(&spec),
            host_cpu: host_cpu(&spec),
            state_digest: state_digest.hex(),
            files: files.collect::<Result<_, _>>()?,
            inputs: with(launched.inputs.clone(), qemu),
        };
        for name in [USED, ASKED_FOR] {
            let path = directory.join(name);
            File::create_new(&path).map_err(file("make", &path))?;
        }
        description::write(&spec, &directory).map_err(file("write in", &directory))?;
        manifest
            .write(&directory)
            .map_err(file("write in", &directory))?;
        let (directory, owned) = match keep_at {
            None => (directory, Some(self.directory)),
            Some(path) => {
                // After a power failure it is whole or not there.
                sync_all_of(&directory).map_err(file("write to the disk", &directory))?;
                let kept = self.directory.keep_at(&path);
                kept.map_err(file("keep a template at", &path))?;
                let parent = parent(&path);
                sync(parent).map_err(file("write to the disk", parent))?;
                (path, None)
            }
        };
        let files = Files {
            directory,
            manifest,
            _owned: owned,
            lock: None,
        };
        Ok(Template::new(files, spec))
    }
}

/// The program that runs, if a script has become it, or started it.
fn running_program(inner: &Inner) -> Option<Result<(PathBuf, Stamp), TemplateError>> {
    if inner.is_wrapped {
        return None;
    }
    // Without `/proc`, the file that was launched must do.
    let path = fs::read_link(format!("/proc/{}/exe", inner.pid)).ok()?;
    let stamp = Stamp::of(&path);
    // It was replaced, so nobody knows whether clones would run the same.
    let stamp = stamp.map_err(|_| TemplateError::InputChanged { path: path.clone() });
    Some(stamp.map(|stamp| (path, stamp)))
}

fn with(
    mut inputs: Vec<(PathBuf, Stamp)>,
    input: Option<(PathBuf, Stamp)>,
) -> Vec<(PathBuf, Stamp)> {
    let is_new = |(path, _): &(PathBuf, Stamp)| inputs.iter().all(|(known, _)| known != path);
    let new = input.filter(is_new);
    inputs.extend(new);
    inputs
}

/// Whether a directory beside `private` can get this name, by a rename.
fn check_free(path: &Path, private: &Path) -> io::Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let of_private = parent(private);
    if parent(path).metadata()?.dev() == private.metadata()?.dev() {
        return Ok(());
    }
    let advice = format!(
        "the memory of the guest is on another file system; keep the template in {}, and move it \
         from there",
        of_private.display()
    );
    Err(io::Error::new(io::ErrorKind::CrossesDevices, advice))
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// Writes the files of a directory and their names to the disk.
fn sync_all_of(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        sync(&entry?.path())?;
    }
    sync(directory)
}

/// Writes a file or the names in a directory to the disk.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn executed(error: qemu_qmp::error::ExecuteError) -> TemplateError {
    TemplateError::Save(MoveError::Migration(MigrationError::Execute(error)))
}

fn file<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> TemplateError + 'a {
    move |cause| TemplateError::File {
        action,
        path: path.to_owned(),
        cause: cause.into(),
    }
}
