//! Copies the guest of a template, so that it can be frozen again.
//!
//! ```text
//! TEMPLATE/ram          --copy of what is not empty, or reflink--> DIRECTORY/ram
//! TEMPLATE/disk0.qcow2  --hard link--> DIRECTORY/disk0.below0.qcow2
//! ```
//!
//! So no template needs the files of another.

use std::fs;
use std::io;
use std::path::Path;

use super::{LaunchFailure, image_files};
use crate::process::blocking::in_thread;
use crate::process::runtime_dir::PrivateDirectory;
use crate::process::space;
use crate::process::sparse::copy;
use crate::spec::MachineSpec;
use crate::spec::image::{Image, MEMORY, disk_file, lower_disk_file};

/// Makes the private directory of a machine that is a layer; `None` for any
/// other. It copies in a thread, because the memory may be large.
pub(super) async fn prepare(spec: &MachineSpec) -> Result<Option<PrivateDirectory>, LaunchFailure> {
    let Image::Layer(files, _) = &spec.image else {
        return Ok(None);
    };
    let plan = image_files::plan(spec)?.unwrap_or_default();
    let base = image_files::base_directory(spec);
    let room = space::check_disk(&base, plan.memory_bytes);
    room.map_err(|reason| LaunchFailure::NoSpace { reason })?;
    let (template, lower) = (files.directory().to_owned(), files.lower_disks());
    let failed = LaunchFailure::file("copy the template to", &base);
    let copied = in_thread(move || {
        let directory = PrivateDirectory::create(&base)?;
        let to = directory.path();
        copy(&template.join(MEMORY), &to.join(MEMORY))?;
        for name in &lower {
            link(&template.join(name), &to.join(name))?;
        }
        for index in 0..plan.disks.len() {
            let below = to.join(lower_disk_file(index, &lower));
            link(&template.join(disk_file(index)), &below)?;
        }
        Ok(directory)
    });
    copied.await.map(Some).map_err(failed)
}

/// The template's file stays as it is, and so does the link: both are below
/// overlays.
fn link(from: &Path, to: &Path) -> io::Result<()> {
    // It may be on another file system.
    fs::hard_link(from, to).or_else(|_| copy(from, to))
}
