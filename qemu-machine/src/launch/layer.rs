//! Copies the guest of a template, so that it can be frozen again.
//!
//! ```text
//! TEMPLATE/ram          --copy of what is not empty, or reflink--> DIRECTORY/ram
//! TEMPLATE/disk0.qcow2  --hard link--> DIRECTORY/disk0.below0.qcow2
//! ```
//!
//! So no template needs the files of another.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::{LaunchFailure, image_files};
use crate::process::blocking::in_thread;
use crate::process::runtime_dir::PrivateDirectory;
use crate::process::space;
use crate::spec::MachineSpec;
use crate::spec::image::{Image, MEMORY, disk_file, lower_disk_file};
use crate::sys;

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

/// Copies a file without its holes.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let source = File::open(from)?;
    let mut new = File::options();
    let target = new.write(true).create_new(true).mode(0o600).open(to)?;
    if sys::reflink(&source, &target).is_ok() {
        return Ok(());
    }
    let mut end = 0;
    while let Some(data) = sys::next_data(&source, end)? {
        (&source).seek(SeekFrom::Start(data.start))?;
        (&target).seek(SeekFrom::Start(data.start))?;
        let length = data.end - data.start;
        if io::copy(&mut (&source).take(length), &mut &target)? < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        end = data.end;
    }
    target.set_len(source.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_copy_is_equal_and_has_holes_where_the_file_has() {
        let folder = std::env::temp_dir().join(format!("layer-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let (from, to) = (folder.join("from"), folder.join("to"));
        let file = File::create_new(&from).unwrap();
        file.set_len(64 << 20).unwrap();
        file.write_all_at(&[1; 10_000], 5 << 20).unwrap();
        file.write_all_at(b"end", (40 << 20) - 3).unwrap();
        copy(&from, &to).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        let blocks = to.metadata().unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "{blocks}");
        // It never writes over a file.
        let error = copy(&from, &to).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        fs::remove_dir_all(&folder).unwrap();
    }
}
