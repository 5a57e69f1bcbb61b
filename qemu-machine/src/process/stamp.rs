//! What changes when a file is written or replaced.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The length of a file and the time of its last change. Compared for equality
/// only, so it does not matter if the clock goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) length_bytes: u64,
    /// Seconds since 1970, and nanoseconds.
    pub(crate) modified: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let file = path.metadata()?;
        Ok(Self {
            length_bytes: file.len(),
            modified: (file.mtime(), file.mtime_nsec()),
        })
    }
}
