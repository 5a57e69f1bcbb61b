//! Where the guest's memory and disks are, so that a guest can be frozen, and
//! cloned from a template.
//!
//! ```text
//! Freezable:  memory = DIRECTORY/ram (shared)     disk N = DIRECTORY/diskN.qcow2 over the caller's
//! Template:   memory = TEMPLATE/ram  (private)    disk N = DIRECTORY/diskN.qcow2 over TEMPLATE's
//! ```
//!
//! The plan is a pure function of the arguments. The launch makes its files.

mod generation;
mod group;
mod guest_words;
mod memory;
mod plan;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{MachineSpec, OptionGroup};
pub(crate) use generation::wants_generation_id;
pub(crate) use guest_words::guest_words;
pub(crate) use plan::{ImagePlan, ImageRefusal, option_name};

/// Where the memory and the disks of a guest are.
#[derive(Debug, Clone, Default)]
pub(crate) enum Image {
    /// In private memory, and as the caller gave them.
    #[default]
    Plain,
    /// In the machine's private directory, below this one or the system's
    /// directory for temporary files.
    Freezable(Option<PathBuf>),
    /// In a template, copied on write.
    Template(Arc<dyn TemplateFiles>),
}

/// The files of a template, which exist as long as this does.
pub(crate) trait TemplateFiles: fmt::Debug + Send + Sync {
    /// Their directory.
    fn directory(&self) -> &Path;

    /// Whether the guest ran when it was frozen.
    fn guest_ran(&self) -> bool;

    /// Fails with a reason if a machine of this description cannot take the
    /// guest, or if the files have changed.
    fn check(&self, spec: &MachineSpec) -> Result<(), String>;
}

impl Image {
    /// The plan; `None` for a machine that needs none.
    pub(crate) fn plan(&self, arguments: &[std::ffi::OsString]) -> Option<PlanResult> {
        match self {
            Self::Plain => None,
            Self::Freezable(_) | Self::Template(_) => Some(ImagePlan::of(arguments)),
        }
    }

    /// The options of the memory, if the private directory is `directory`.
    pub(crate) fn memory(&self, size_bytes: u64, directory: &Path) -> Option<OptionGroup> {
        let (path, is_shared) = match self {
            Self::Plain => return None,
            Self::Freezable(_) => (directory.join(MEMORY), true),
            Self::Template(files) => (files.directory().join(MEMORY), false),
        };
        Some(
            OptionGroup::new("memory-backend-file")
                .set("id", MEMORY_ID)
                .set("size", size_bytes.to_string())
                .set("mem-path", path)
                .switch("share", is_shared),
        )
    }
}

type PlanResult = Result<ImagePlan, ImageRefusal>;

/// The file of the memory.
pub(crate) const MEMORY: &str = "ram";

/// The file of the state of the devices.
pub(crate) const STATE: &str = "state";

/// The id of the memory's object, which must be equal in a template and its
/// clones.
pub(crate) const MEMORY_ID: &str = "freezable-ram";

/// The file of a disk, by its index.
pub(crate) fn disk_file(index: usize) -> String {
    format!("disk{index}.qcow2")
}
