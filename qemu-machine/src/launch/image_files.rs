//! Makes the files of a machine whose guest can be frozen, or is a clone.

use std::io;
use std::path::{Path, PathBuf};

use super::LaunchFailure;
use super::overlay::Base;
use super::resources;
use crate::process::space;
use crate::spec::image::{disk_file, lower_disk_file};
use crate::spec::{Image, ImagePlan, MachineSpec, Monitor};

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
    if plan.is_some()
        && let Some(option) = without_descriptors(&spec.monitor)
    {
        return Err(LaunchFailure::NotFreezable {
            option: option.into(),
            reason: "the guest's state is passed as a descriptor; use a monitor on a socket pair \
                     or a unix socket",
        });
    }
    if let (Some(_), Some(plan)) = (spec.image.template(), &plan) {
        let checked = space::check_memory(plan.memory_bytes);
        checked.map_err(|reason| LaunchFailure::NoSpace { reason })?;
    }
    Ok(plan)
}

/// A monitor that passes no descriptors.
fn without_descriptors(monitor: &Monitor) -> Option<&'static str> {
    match monitor {
        Monitor::SocketPair | Monitor::Unix(_) => None,
        Monitor::Tcp(_) => Some("the monitor over TCP"),
        Monitor::Off => Some("the missing monitor"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Machine;

    #[test]
    fn a_monitor_that_passes_no_descriptors_is_refused_for_templates_alone() {
        let machine = |monitor| Machine::builder("qemu").memory("1G").monitor(monitor);
        let tcp = || Monitor::Tcp(([127, 0, 0, 1], 0).into());
        for (monitor, named) in [(tcp(), "over TCP"), (Monitor::Off, "missing monitor")] {
            let error = plan(machine(monitor).freezable().spec()).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
        let unix = machine(Monitor::Unix("/socket".into())).freezable();
        assert!(plan(unix.spec()).unwrap().is_some());
        assert!(plan(machine(tcp()).spec()).unwrap().is_none());
    }
}
