//! What a machine whose guest can be frozen was launched with.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::backing::below;
use super::hardware::Hardware;
use crate::process::stamp::Stamp;
use crate::process::{self, StartError};
use crate::spec::image::input_files;
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
    /// What the launch found before the guest ran.
    pub(crate) hardware: OnceLock<Hardware>,
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
        let inputs = inputs(spec).unwrap_or_default();
        Some(Self {
            spec: MachineSpec {
                image: Image::Freezable(None),
                ..spec.clone()
            },
            files: spec.image.files(plan.disks.len()),
            inputs: inputs.into_iter().filter_map(stamp).collect(),
            hardware: OnceLock::new(),
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

/// QEMU, and the files that it reads for the guest: what the guest boots from,
/// its disks, and the images below those.
pub(crate) fn inputs(spec: &MachineSpec) -> Result<Vec<PathBuf>, StartError> {
    let working = spec.working_directory.clone().unwrap_or_default();
    let mut inputs = vec![program(spec)?];
    let mut next: Vec<PathBuf> = input_files(&spec.arguments);
    next.reverse();
    while let Some(file) = next.pop().map(|file| working.join(file)) {
        // A name may stand for something else. A disk that is missing is refused
        // by QEMU.
        let is_input = file
            .metadata()
            .is_ok_and(|it| it.is_file() || it.file_type().is_block_device());
        if is_input && !inputs.contains(&file) {
            next.extend(below(&file));
            inputs.push(file);
        }
    }
    Ok(inputs)
}

/// The path of the QEMU that a launch would start, without links.
pub(crate) fn program(spec: &MachineSpec) -> Result<PathBuf, StartError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let program = process::find(spec.binary(), &path)?;
    Ok(program.canonicalize().unwrap_or(program))
}
