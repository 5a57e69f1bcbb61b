//! What a template is, without opening it for clones.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::files::{Files, USED};
use super::manifest::{MANIFEST, Manifest};
use super::{Template, TemplateError, description};
use crate::spec::image::{TemplateFiles, option_name};
use crate::spec::{ImagePlan, MachineSpec};

/// What a template is: the machine that was frozen, and when.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TemplateFacts {
    /// The name of the machine; `None` if its builder had none.
    pub name: Option<String>,
    /// The QEMU binary.
    pub binary: PathBuf,
    /// The version of QEMU, such as `10.0.2`.
    pub version: String,
    /// The machine type, with its options; `None` for QEMU's own default.
    pub machine_type: Option<String>,
    /// The guest's memory.
    pub memory_bytes: u64,
    /// The images below the disks to which the guest can write.
    pub disks: Vec<PathBuf>,
    /// Whether the machine has a port for a guest agent.
    pub has_guest_agent: bool,
    /// Whether QEMU booted a kernel that was given to it.
    pub boots_kernel: bool,
    /// The names of the consoles; the first has none.
    pub consoles: Vec<Option<String>>,
    /// Whether the guest ran when it was frozen.
    pub guest_ran: bool,
    /// When the template was made.
    pub made: SystemTime,
    /// Why no machine can be cloned from it now; `None` if it can.
    pub problem: Option<String>,
}

impl TemplateFacts {
    /// Reads the facts of the template in this directory. It takes no lock, and
    /// does not count as a use.
    ///
    /// # Errors
    /// [`TemplateError::Unusable`], if there is no template.
    pub fn read(directory: impl AsRef<Path>) -> Result<Self, TemplateError> {
        let directory = directory.as_ref();
        let unusable = |reason| unusable(directory, reason);
        let manifest = Manifest::read(directory).map_err(unusable)?;
        let spec = description::read(directory).map_err(unusable)?;
        let made = directory.join(MANIFEST).metadata();
        let made = made.and_then(|it| it.modified());
        let plan = ImagePlan::of(&spec.arguments).unwrap_or_default();
        let working = spec.working_directory.clone().unwrap_or_default();
        let disks = plan.disks.iter().map(|disk| working.join(&disk.base));
        let disks = disks.collect();
        let (guest_ran, version) = (manifest.guest_ran, manifest.version.clone());
        let files = Files {
            directory: directory.to_owned(),
            manifest,
            _owned: None,
            lock: None,
        };
        Ok(Self {
            problem: files.check(&spec).err(),
            binary: spec.binary().into(),
            version,
            machine_type: machine_type(&spec),
            memory_bytes: plan.memory_bytes,
            disks,
            has_guest_agent: spec.has_guest_agent(),
            boots_kernel: has_option(&spec, "kernel"),
            consoles: spec
                .consoles()
                .map(|(it, _)| it.map(str::to_owned))
                .collect(),
            guest_ran,
            made: made.unwrap_or(SystemTime::UNIX_EPOCH),
            name: spec.name,
        })
    }
}

impl Template {
    /// Opens a template that was [kept](super::Freeze::keep_at), as the machine
    /// that was frozen. The template describes the machine, so this works in any
    /// program. The timeouts are the default ones, and the consoles have neither
    /// log nor tee.
    ///
    /// The template counts as in use while the handle, or a builder of its
    /// machines, is there.
    ///
    /// # Errors
    /// [`TemplateError::Unusable`], if there is no template, it is damaged, or
    /// what it was made of has changed.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::Wait;
    /// use qemu_machine::template::Template;
    ///
    /// let template = Template::open_as_frozen("failures/test-7")?;
    /// let vm = template.machine().launch().wait()?;
    /// println!("{}", vm.console().shell().wait()?.run("dmesg").wait()?.text());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open_as_frozen(directory: impl AsRef<Path>) -> Result<Self, TemplateError> {
        let directory = directory.as_ref();
        let unusable = |reason| unusable(directory, reason);
        let absolute = std::path::absolute(directory);
        let absolute = absolute.map_err(|error| unusable(error.to_string()))?;
        let manifest = Manifest::read(&absolute).map_err(unusable)?;
        let spec = description::read(&absolute).map_err(unusable)?;
        // A template of a store may be removed by another process.
        let used = super::store::use_lock(&absolute);
        let used =
            used.map_err(|error| unusable(format!("cannot lock its file {USED}: {error}")))?;
        // The time is only for the order of removal.
        let _ = used.set_modified(SystemTime::now());
        let files = Files {
            directory: absolute,
            manifest,
            _owned: None,
            lock: Some(Arc::new(used)),
        };
        files.check(&spec).map_err(unusable)?;
        Ok(Self::new(files, spec))
    }
}

fn unusable(directory: &Path, reason: String) -> TemplateError {
    TemplateError::Unusable {
        path: directory.to_owned(),
        reason,
    }
}

fn machine_type(spec: &MachineSpec) -> Option<String> {
    let words = spec.arguments.windows(2);
    let mut given = words.filter(|pair| matches!(option_name(&pair[0]), Some("machine" | "M")));
    let given = given.next_back().map(|pair| pair[1].as_os_str());
    let machine = spec.machine_type().or(given);
    machine.map(|it: &OsStr| it.to_string_lossy().into_owned())
}

fn has_option(spec: &MachineSpec, name: &str) -> bool {
    let mut words = spec.arguments.iter();
    words.any(|word| option_name(word) == Some(name))
}
