//! The key of a template: a digest of everything that it is made of, and of where
//! that is.
//!
//! Clones need the files at their paths. So equal files at other paths make another
//! template, which does not end with the files of the first.

use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf, absolute};
use std::time::{Duration, SystemTime};

use crate::machine::freezable::inputs;
use crate::process::digest::Digest;
use crate::spec::MachineSpec;
use crate::spec::image::guest_words;
use crate::template::description;
use crate::template::host_cpu::host_cpu;

/// The key of the template of this machine, with the set-up of this version.
/// `digests` is a directory for the digests of large files.
pub(super) fn key(spec: &MachineSpec, version: &str, digests: &Path) -> io::Result<String> {
    let mut digest = Digest::new();
    digest.add(FORMAT);
    digest.add(version.as_bytes());
    for word in guest_words(spec) {
        digest.add(word.as_bytes());
    }
    if let Some(template) = spec.image.template() {
        digest.add(template.identity().as_bytes());
    }
    if let Some(processor) = host_cpu(spec) {
        digest.add(processor.as_bytes());
    }
    let inputs = inputs(spec).map_err(|_| {
        let binary = spec.binary().display();
        io::Error::new(io::ErrorKind::NotFound, format!("no program '{binary}'"))
    })?;
    digest.add(description::binary(spec).as_bytes());
    for input in inputs {
        // What QEMU opens, which may be a link, and what that is.
        for path in [absolute(&input)?, input.canonicalize()?] {
            digest.add(path.as_os_str().as_bytes());
        }
        digest.add(content(&input, digests)?.as_bytes());
    }
    Ok(digest.hex())
}

/// Whether this can be a key.
pub(super) fn is_key(name: &str) -> bool {
    name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The digest of a file's content, kept from the last time if the file has not
/// changed since.
fn content(path: &Path, digests: &Path) -> io::Result<String> {
    let path = path.canonicalize()?;
    let found = path.metadata()?;
    let mut identity = Digest::new();
    identity.add(path.as_os_str().as_bytes());
    for number in [found.dev(), found.ino(), found.len()] {
        identity.add(&number.to_le_bytes());
    }
    for number in [
        found.mtime(),
        found.mtime_nsec(),
        found.ctime(),
        found.ctime_nsec(),
    ] {
        identity.add(&number.to_le_bytes());
    }
    let kept = digests.join(identity.hex());
    match fs::read_to_string(&kept) {
        Ok(digest) if is_key(&digest) => Ok(digest),
        _ => {
            let digest = Digest::of_file(&path)?.hex();
            // Without it, the file is read again the next time.
            if found
                .modified()
                .is_ok_and(|it| is_settled(it, SystemTime::now()))
            {
                let _ = keep(digests, &kept, &digest);
            }
            Ok(digest)
        }
    }
}

/// Whether a file changed long enough ago that another change gets another
/// time. After the clock has gone back, the time may lie ahead: then it would
/// come again.
fn is_settled(modified: SystemTime, now: SystemTime) -> bool {
    now.duration_since(modified).is_ok_and(|age| age >= SETTLED)
}

/// The digests that are kept in this directory, also those that were not finished.
pub(super) fn digests_in(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let is_digest = |path: &PathBuf| {
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        stem.is_some_and(is_key) && path.symlink_metadata().is_ok_and(|it| it.is_file())
    };
    let paths = fs::read_dir(directory)?.flatten().map(|it| it.path());
    Ok(paths.filter(is_digest).collect())
}

fn keep(digests: &Path, at: &Path, digest: &str) -> io::Result<()> {
    fs::create_dir_all(digests)?;
    let kept = digests_in(digests)?;
    if kept.len() >= KEPT_DIGESTS {
        for digest in kept {
            fs::remove_file(digest)?;
        }
    }
    let unfinished = at.with_extension(std::process::id().to_string());
    File::create(&unfinished)?;
    fs::write(&unfinished, digest)?;
    fs::rename(&unfinished, at)
}

/// Changes whenever templates of an older version cannot be used.
const FORMAT: &[u8] = b"qemu-machine template 3";
const KEPT_DIGESTS: usize = 1000;
/// Some file systems count the time in steps of 2 s.
const SETTLED: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_has_just_changed_or_changes_in_the_future_is_read_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let settled = |seconds| is_settled(SystemTime::UNIX_EPOCH + seconds, now);
        assert!(settled(Duration::from_secs(997)));
        assert!(!settled(Duration::from_secs(998)));
        assert!(!settled(Duration::from_secs(1000)));
        assert!(!settled(Duration::from_secs(5000)));
    }
}
