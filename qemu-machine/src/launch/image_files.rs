//! Makes the files of a machine whose guest can be frozen, or is a clone.

use std::io;
use std::path::{Path, PathBuf};

use super::LaunchFailure;
use super::overlay::Base;
use super::resources;
use crate::process::space;
use crate::spec::image::{disk_file, lower_disk_file};
use crate::spec::{Image, ImagePlan, MachineSpec};

/// The plan; `None` for a machine that needs none.
pub(super) fn plan(spec: &MachineSpec) -> Result<Option<ImagePlan>, LaunchFailure> {
    if let Some(files) = spec.image.template() {
        let checked = files.check(spec);
        checked.map_err(|reason| LaunchFailure::NotOfTemplate { reason })?;
    }
    let plan = spec.image.plan(&spec.arguments).transpose();
    let plan = plan.map_err(|refusal| LaunchFailure::NotFreezable {
        option: refusal.option,
        reason: refusal.reason,
    })?;
    if let (Some(_), Some(plan)) = (spec.image.template(), &plan) {
        let checked = space::check_memory(plan.memory_bytes);
        checked.map_err(|reason| LaunchFailure::NoSpace { reason })?;
    }
    Ok(plan)
}

/// The directory for the private directory of the machine.
pub(super) fn base_directory(spec: &MachineSpec) -> PathBuf {
    match &spec.image {
        Image::Freezable(Some(base)) | Image::Layer(_, Some(base)) => base.clone(),
        _ => resources::base_directory(spec),
    }
}

/// Makes an overlay for each disk.
pub(super) fn create(
    spec: &MachineSpec,
    plan: &ImagePlan,
    directory: &Path,
) -> Result<(), LaunchFailure> {
    if matches!(spec.image, Image::Freezable(_)) {
        let checked = space::check_disk(directory, plan.memory_bytes);
        checked.map_err(|reason| LaunchFailure::NoSpace { reason })?;
    }
    for (index, disk) in plan.disks.iter().enumerate() {
        let overlay = directory.join(disk_file(index));
        let below = match &spec.image {
            Image::Template(files) => files.directory().join(disk_file(index)),
            Image::Layer(files, _) => directory.join(lower_disk_file(index, &files.lower_disks())),
            Image::Plain | Image::Freezable(_) => {
                let working = spec.working_directory.clone().unwrap_or_default();
                working.join(&disk.base)
            }
        };
        let format = match &spec.image {
            Image::Template(_) | Image::Layer(..) => Some("qcow2"),
            Image::Plain | Image::Freezable(_) => disk.format.as_deref(),
        };
        let base = Base::open(&below, format);
        let base = base.map_err(LaunchFailure::file("use the disk", &below))?;
        let base = match &spec.image {
            // Both move together when the guest is frozen.
            Image::Layer(..) => base.beside_the_overlay(),
            _ => base,
        };
        let made = base.create_overlay(&overlay);
        made.map_err(LaunchFailure::file("make the overlay", &overlay))?;
    }
    Ok(())
}

impl LaunchFailure {
    /// Makes an error of an error of the system, with what was done.
    pub(super) fn file(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |cause| Self::File {
            action,
            path,
            cause: cause.into(),
        }
    }
}
