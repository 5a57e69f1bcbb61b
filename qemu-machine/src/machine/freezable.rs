//! What a machine whose guest can be frozen was launched with.

use std::io;
use std::path::{Path, PathBuf};

use crate::process::stamp::Stamp;
use crate::process::{self, StartError};
use crate::spec::{Image, ImagePlan, MachineSpec};

/// What a freeze needs to know of the launch.
#[derive(Debug)]
pub(crate) struct Freezable {
    /// Without the template that the machine may be a clone of.
    pub(crate) spec: MachineSpec,
    /// The files in the private directory that belong to the guest.
    pub(crate) files: Vec<String>,
    /// What the guest was launched from, as it was before the launch.
    pub(crate) inputs: Vec<(PathBuf, Stamp)>,
}

impl Freezable {
    /// Looks at the inputs; `None` for a machine that cannot be frozen. A file
    /// that cannot be read is left out: QEMU refuses it.
    pub(crate) fn of(spec: &MachineSpec) -> Option<Self> {
        if !spec.is_freezable() {
            return None;
        }
        let plan = ImagePlan::of(&spec.arguments).unwrap_or_default();
        let stamp = |path: PathBuf| {
            let path = path.canonicalize().unwrap_or(path);
            Stamp::of(&path).ok().map(|stamp| (path, stamp))
        };
        let inputs = inputs(spec, &plan).unwrap_or_default();
        Some(Self {
            spec: MachineSpec {
                image: Image::Freezable(None),
                ..spec.clone()
            },
            files: spec.image.files(plan.disks.len()),
            inputs: inputs.into_iter().filter_map(stamp).collect(),
        })
    }

    /// The first input that has changed since the launch, and the error of the
    /// system if it cannot be read.
    pub(crate) fn changed(&self) -> Option<(&Path, Option<io::Error>)> {
        self.inputs
            .iter()
            .find_map(|(path, stamp)| match Stamp::of(path) {
                Ok(now) if now == *stamp => None,
                Ok(_) => Some((path.as_path(), None)),
                Err(error) => Some((path.as_path(), Some(error))),
            })
    }
}

/// QEMU, the files that the guest boots from, and the images below its disks.
pub(crate) fn inputs(spec: &MachineSpec, plan: &ImagePlan) -> Result<Vec<PathBuf>, StartError> {
    let working = spec.working_directory.clone().unwrap_or_default();
    let disks = plan.disks.iter().map(|disk| working.join(&disk.base));
    let program = program(spec)?;
    let inputs = [program].into_iter().chain(boot_files(spec)).chain(disks);
    Ok(inputs.collect())
}

/// The path of the QEMU that a launch would start, without links.
pub(crate) fn program(spec: &MachineSpec) -> Result<PathBuf, StartError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = process::find(spec.binary(), &path)?;
    Ok(program.canonicalize().unwrap_or(program))
}

/// The files that the guest booted from, which a clone needs when it reboots.
fn boot_files(spec: &MachineSpec) -> Vec<PathBuf> {
    let working = spec.working_directory.clone().unwrap_or_default();
    let words = spec.arguments.windows(2);
    let files = words.filter(|pair| {
        let option = pair[0].to_str().unwrap_or_default();
        let option = option.strip_prefix("--").or(option.strip_prefix('-'));
        option.is_some_and(|it| ["kernel", "initrd", "bios", "dtb"].contains(&it))
    });
    let files = files.map(|pair| working.join(&pair[1]));
    // A firmware may be named as QEMU finds it in its own directories.
    files.filter(|path| path.exists()).collect()
}
