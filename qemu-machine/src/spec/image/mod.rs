//! Where the guest's memory and disks are, so that a guest can be frozen, and
//! cloned from a template.
//!
//! ```text
//! Freezable:  memory = DIRECTORY/ram (shared)     disk N = DIRECTORY/diskN.qcow2 over the caller's
//! Template:   memory = TEMPLATE/ram  (private)    disk N = DIRECTORY/diskN.qcow2 over TEMPLATE's
//! Layer:      memory = DIRECTORY/ram (shared), a copy of TEMPLATE/ram
//!             disk N = DIRECTORY/diskN.qcow2 over DIRECTORY/diskN.belowM.qcow2, a link to TEMPLATE's
//! ```
//!
//! The plan is a pure function of the arguments. The launch makes its files.

mod blockdev;
mod generation;
mod group;
mod guest_words;
mod inputs;
mod memory;
mod options;
mod plan;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{MachineSpec, OptionGroup};
pub(crate) use generation::wants_generation_id;
pub(crate) use group::id_of;
pub(crate) use guest_words::{guest_words, remove_incoming};
pub(crate) use inputs::{file_of_image, input_files};
pub(crate) use options::option_name;
pub(crate) use plan::{ImagePlan, ImageRefusal};

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
    /// Those of a template, in the machine's private directory, so that the
    /// guest can be frozen again.
    Layer(Arc<dyn TemplateFiles>, Option<PathBuf>),
}

/// What is known of the shell on the first console of a frozen guest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct FrozenShell {
    pub(crate) is_at_prompt: bool,
    /// It waits for the place of the cursor there.
    pub(crate) has_asked_for_cursor: bool,
    /// It has the functions that wake a clone.
    pub(crate) is_prepared: bool,
}

/// The files of a template, which exist as long as this does.
pub(crate) trait TemplateFiles: fmt::Debug + Send + Sync {
    /// Their directory.
    fn directory(&self) -> &Path;

    /// Whether the guest ran when it was frozen.
    fn guest_ran(&self) -> bool;

    /// The lock by which a store knows that they are in use, if they are in one.
    fn lock(&self) -> Option<Arc<File>>;

    /// The shell on the first console when the guest was frozen.
    fn shell(&self) -> FrozenShell;

    /// The disks below the ones that the guest had, if it was a clone itself.
    fn lower_disks(&self) -> Vec<String>;

    /// Whether QEMU must not open the memory for writing, and can do without.
    fn has_read_only_memory(&self) -> bool;

    /// The version of the QEMU that froze it; empty if it is not known.
    fn version(&self) -> &str;

    /// Differs from that of each other template.
    fn identity(&self) -> &str;

    /// Fails with a reason if a machine of this description cannot take the
    /// guest, or if the files have changed.
    fn check(&self, spec: &MachineSpec) -> Result<(), String>;
}

impl Image {
    /// The plan; `None` for a machine that needs none.
    pub(crate) fn plan(&self, arguments: &[std::ffi::OsString]) -> Option<PlanResult> {
        match self {
            Self::Plain => None,
            _ => Some(ImagePlan::of(arguments)),
        }
    }

    /// The template of the guest; `None` if it boots.
    pub(crate) fn template(&self) -> Option<&Arc<dyn TemplateFiles>> {
        match self {
            Self::Plain | Self::Freezable(_) => None,
            Self::Template(files) | Self::Layer(files, _) => Some(files),
        }
    }

    /// Whether the guest can be frozen.
    pub(crate) fn is_freezable(&self) -> bool {
        matches!(self, Self::Freezable(_) | Self::Layer(..))
    }

    /// The same, so that the guest can be frozen, with its files below this
    /// directory.
    pub(crate) fn freezable(&self, directory: Option<PathBuf>) -> Self {
        match self.template() {
            Some(files) => Self::Layer(Arc::clone(files), directory),
            None => Self::Freezable(directory),
        }
    }

    /// Whether disks of the guest are overlays in the private directory.
    pub(crate) fn has_disks(&self, arguments: &[std::ffi::OsString]) -> bool {
        let plan = self.plan(arguments).and_then(Result::ok);
        plan.is_some_and(|plan| !plan.disks.is_empty())
    }

    /// The files of the guest in the private directory of a machine, by the
    /// number of its disks.
    pub(crate) fn files(&self, disks: usize) -> Vec<String> {
        let lower = self.template().map(|files| files.lower_disks());
        let lower = lower.unwrap_or_default();
        let own = (0..disks).map(disk_file);
        let below = (0..disks).map(|index| lower_disk_file(index, &lower));
        let below = below.filter(|_| self.template().is_some());
        let mut names = vec![MEMORY.to_owned()];
        names.extend(own.chain(below).chain(lower.iter().cloned()));
        names
    }

    /// The file that the guest's memory is, if the private directory is `directory`.
    pub(crate) fn written_memory(&self, directory: &Path) -> Option<PathBuf> {
        matches!(self, Self::Freezable(_) | Self::Layer(..)).then(|| directory.join(MEMORY))
    }

    /// The options of the memory, if the private directory is `directory`.
    pub(crate) fn memory(&self, size_bytes: u64, directory: &Path) -> Option<OptionGroup> {
        let (path, is_shared) = match self {
            Self::Template(files) => (files.directory().join(MEMORY), false),
            _ => (self.written_memory(directory)?, true),
        };
        let memory = OptionGroup::new("memory-backend-file")
            .set("id", MEMORY_ID)
            .set("size", size_bytes.to_string())
            .set("mem-path", path)
            .switch("share", is_shared);
        Some(match self {
            // The guest writes to a private copy all the same.
            Self::Template(files) if files.has_read_only_memory() => {
                memory.switch("readonly", true).switch("rom", false)
            }
            _ => memory,
        })
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

/// The file that the disk of a template gets below a new one, beside those that
/// are `lower` already.
pub(crate) fn lower_disk_file(index: usize, lower: &[String]) -> String {
    let mut names = (0..).map(|depth| format!("disk{index}.below{depth}.qcow2"));
    let free = names.find(|name| !lower.contains(name));
    free.expect("endless")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layer_has_its_own_names_for_the_disks_below() {
        let names = |lower: &[&str]| {
            let lower: Vec<String> = lower.iter().map(ToString::to_string).collect();
            [0, 1].map(|index| lower_disk_file(index, &lower))
        };
        assert_eq!(names(&[]), ["disk0.below0.qcow2", "disk1.below0.qcow2"]);
        assert_eq!(
            names(&[
                "disk0.below0.qcow2",
                "disk1.below0.qcow2",
                "disk0.below1.qcow2"
            ]),
            ["disk0.below2.qcow2", "disk1.below1.qcow2"]
        );
    }
}
