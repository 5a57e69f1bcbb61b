//! Copies a file that has holes.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::sys;

/// Copies a file without its holes.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
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
    use std::fs;
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn a_copy_is_equal_and_has_holes_where_the_file_has() {
        let folder = std::env::temp_dir().join(format!("sparse-{}", std::process::id()));
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
