//! A template, and the machines that are cloned from it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::TemplateError;
use super::files::Files;
use super::manifest::Manifest;
use crate::process::place::absolute;
use crate::spec::image::{TemplateFiles, remove_incoming};
use crate::spec::{Image, ImagePlan, MachineBuilder, MachineSpec};

/// A frozen guest, from which machines are cloned; made by
/// [`Machine::freeze`](crate::Machine::freeze).
///
/// Cheap to clone as a handle. The files of a template that is not
/// [kept](super::Freeze::keep_at) are removed with the last handle on it and the
/// last builder of its machines. Machines that run do not need them.
///
/// # Examples
/// ```no_run
/// use qemu_machine::{Console, Machine, Wait};
///
/// let vm = Machine::builder("qemu-system-x86_64")
///     .memory("256M")
///     .kernel("vmlinuz")
///     .initrd("initramfs")
///     .append("console=ttyS0")
///     .console(Console::serial())
///     .freezable()
///     .launch()
///     .wait()?;
/// vm.console().expect("~ # ").wait()?;
/// let template = vm.freeze().wait()?;
/// for number in 1..=3 {
///     let clone = template.machine().name(format!("clone{number}")).launch().wait()?;
///     let mut shell = clone.console().shell().wait()?;
///     println!("{}", shell.run("cat /proc/uptime").wait()?.text());
///     clone.shutdown().wait()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Template {
    files: Arc<Files>,
    spec: Arc<MachineSpec>,
}

impl Template {
    pub(super) fn new(files: Files, mut spec: MachineSpec) -> Self {
        // It must not keep the template that the machine was cloned from.
        spec.image = Image::Plain;
        // Nor must a clone wait for a guest, if the machine did.
        remove_incoming(&mut spec.arguments);
        Self {
            files: Arc::new(files),
            spec: Arc::new(spec),
        }
    }

    /// Opens a template that was [kept](super::Freeze::keep_at). `machine`
    /// describes the machine that was frozen, as the template does not contain
    /// its channels and timeouts.
    ///
    /// # Errors
    /// [`TemplateError::Unusable`], if there is none, it is damaged, or it is
    /// not of such a machine.
    pub fn open(path: impl AsRef<Path>, machine: &MachineBuilder) -> Result<Self, TemplateError> {
        Self::open_used(&absolute(path), machine, None)
    }

    /// Opens a template, with a lock on it.
    pub(super) fn open_used(
        directory: &Path,
        machine: &MachineBuilder,
        lock: Option<File>,
    ) -> Result<Self, TemplateError> {
        let unusable = |reason| TemplateError::Unusable {
            path: directory.to_owned(),
            reason,
        };
        let manifest = Manifest::read(directory).map_err(unusable)?;
        let files = Files {
            directory: directory.to_owned(),
            manifest,
            _owned: None,
            lock: lock.map(Arc::new),
        };
        let spec = machine.spec().clone();
        files.check(&spec).map_err(unusable)?;
        Ok(Self::new(files, spec))
    }

    /// Makes a builder for a machine that takes the guest of this template:
    /// its launch loads the guest, which then goes on. It may differ from the
    /// frozen machine in its name, logs, environment, and in the backends of
    /// its network. The launch refuses a machine that the guest would see as
    /// another.
    ///
    /// If the guest was paused when it was frozen, the machine is paused too.
    ///
    /// Its environment has `GLIBC_TUNABLES=glibc.malloc.hugetlb=1`, unless that
    /// of this process or of the frozen machine says something about the
    /// variable. QEMU then reads a kernel into huge pages, in half the time.
    pub fn machine(&self) -> MachineBuilder {
        let mut spec = (*self.spec).clone();
        spec.image = Image::Template(Arc::clone(&self.files) as Arc<dyn TemplateFiles>);
        spec.name = None;
        let is_set = std::env::var_os(TUNABLES).is_some();
        if !is_set && spec.environment.iter().all(|(name, _)| name != TUNABLES) {
            let value = Some(HUGE_PAGES.into());
            spec.environment.push((TUNABLES.into(), value));
        }
        MachineBuilder::from(spec)
    }

    /// The memory of its guest.
    pub(super) fn memory_bytes(&self) -> u64 {
        let plan = ImagePlan::of(&self.spec.arguments);
        plan.map_or(0, |plan| plan.memory_bytes)
    }

    /// The default timeout of a launch.
    pub(super) fn launch_timeout(&self) -> Option<Duration> {
        self.spec.launch_timeout
    }

    /// The directory of its files.
    pub fn path(&self) -> &Path {
        &self.files.directory
    }

    /// The version of its QEMU, such as `10.0.2`.
    pub fn version(&self) -> &str {
        &self.files.manifest.version
    }
}

/// A variable of glibc's; see <https://www.gnu.org/software/libc/manual/html_node/Tunables.html>.
const TUNABLES: &str = "GLIBC_TUNABLES";

/// Since glibc 2.35: a large allocation is advised to use huge pages.
const HUGE_PAGES: &str = "glibc.malloc.hugetlb=1";
