//! What changes when a file is written or replaced.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::digest::Digest;

/// The length of a file, the time of its last change, and a digest of its first
/// and last bytes. Compared for equality only, so it does not matter if the clock
/// goes back.
///
/// Some systems give all files the same time. Programs and kernels then differ in
/// their first bytes, compressed files in their last ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) length_bytes: u64,
    /// Seconds since 1970, and nanoseconds.
    pub(crate) modified: (i64, i64),
    pub(crate) ends: String,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let found = file.metadata()?;
        Ok(Self {
            length_bytes: found.len(),
            modified: (found.mtime(), found.mtime_nsec()),
            ends: ends(&file, found.len())?,
        })
    }
}

fn ends(file: &File, length: u64) -> io::Result<String> {
    let mut digest = Digest::new();
    let mut bytes = vec![0; END_BYTES];
    for offset in [0, length.saturating_sub(END_BYTES as u64)] {
        let mut count = 0;
        while count < bytes.len() {
            match file.read_at(&mut bytes[count..], offset + count as u64) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        digest.add(&bytes[..count]);
    }
    Ok(digest.hex())
}

const END_BYTES: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn another_file_of_the_same_length_and_time_has_another_stamp() {
        let path = std::env::temp_dir().join(format!("stamp-{}", std::process::id()));
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
            Stamp::of(&path).unwrap()
        };
        let bytes = vec![7; 5 * END_BYTES];
        assert_eq!(of(&bytes), of(&bytes));
        for at in [0, bytes.len() - 1] {
            let mut other = bytes.clone();
            other[at] = 8;
            assert_ne!(of(&bytes), of(&other), "{at}");
        }
        assert_ne!(of(b""), of(b"a"));
        std::fs::remove_file(&path).unwrap();
    }
}
