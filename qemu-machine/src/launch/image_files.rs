//! Makes the files of a machine whose guest can be frozen, or is a clone.

use std::io;
use std::path::Path;

use super::LaunchFailure;
use super::overlay::Base;
use crate::process::space;
use crate::spec::image::disk_file;
use crate::spec::{Image, ImagePlan, MachineSpec, Monitor};

/// The plan; `None` for a machine that needs none.
pub(super) fn plan(spec: &MachineSpec) -> Result<Option<ImagePlan>, LaunchFailure> {
    if let Image::Template(files) = &spec.image {
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
    if let (Image::Template(_), Some(plan)) = (&spec.image, &plan) {
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
        let name = disk_file(index);
        let (path, format) = match (&spec.image, &spec.working_directory) {
            (Image::Template(files), _) => (files.directory().join(&name), Some("qcow2")),
            (_, Some(working)) => (working.join(&disk.base), disk.format.as_deref()),
            (_, None) => (disk.base.clone(), disk.format.as_deref()),
        };
        let failed = |action, path: &Path, cause: io::Error| LaunchFailure::File {
            action,
            path: path.to_owned(),
            cause: cause.into(),
        };
        let base = Base::open(&path, format);
        let base = base.map_err(|cause| failed("use the disk", &path, cause))?;
        let overlay = directory.join(&name);
        let made = base.create_overlay(&overlay);
        made.map_err(|cause| failed("make the overlay", &overlay, cause))?;
    }
    Ok(())
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
