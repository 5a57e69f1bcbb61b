//! The mark after a saved guest in its file: whether the guest ran.
//!
//! A guest is paused while it is saved, so the stream of QEMU always says
//! "paused". QEMU reads only to the end of the stream, and ignores the mark. A
//! regular file ends with the mark. On a device, the mark is in its last bytes,
//! because the device is longer than the stream.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt};

/// Marks a file. Its position is the end of the stream.
pub(super) fn write(mut file: &File, ran: bool) -> io::Result<()> {
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        let end = file.seek(SeekFrom::End(0))?;
        return file.write_all_at(mark(ran), end);
    }
    if !kind.is_block_device() {
        // A device such as /dev/null has no end to find it at.
        return Ok(());
    }
    let stream = file.stream_position()?;
    let end = file.seek(SeekFrom::End(0))?;
    match end.checked_sub(LENGTH) {
        Some(place) if place >= stream => file.write_all_at(mark(ran), place),
        _ => Err(io::ErrorKind::StorageFull.into()),
    }
}

/// Whether the guest in a file ran; `None` without a mark. The position in the
/// file is its start again.
pub(super) fn read(mut file: &File) -> Option<bool> {
    let end = file.seek(SeekFrom::End(0)).ok()?;
    file.rewind().ok()?;
    let mut found = [0; RAN.len()];
    let place = end.checked_sub(LENGTH)?;
    file.read_exact_at(&mut found, place).ok()?;
    [true, false].into_iter().find(|&ran| *mark(ran) == found)
}

fn mark(ran: bool) -> &'static [u8; RAN.len()] {
    if ran { RAN } else { PAUSED }
}

/// All marks have the same length.
const RAN: &[u8; 32] = b"\nqemu-machine: the guest ran   \n";
const PAUSED: &[u8; 32] = b"\nqemu-machine: the guest paused\n";
const LENGTH: u64 = RAN.len() as u64;

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_mark_is_read_back_and_nothing_else_is_taken_for_one() {
        let path = std::env::temp_dir().join(format!("mark-{}", std::process::id()));
        let mut file = File::create_new(&path).unwrap();
        let mut again = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read(&again), None);
        file.write_all(b"a stream that is longer than a mark is")
            .unwrap();
        assert_eq!(read(&again), None);
        for ran in [true, false] {
            write(&file, ran).unwrap();
            assert_eq!(read(&again), Some(ran));
            assert_eq!(again.stream_position().unwrap(), 0);
        }
        file.write_all_at(b"x", file.metadata().unwrap().len())
            .unwrap();
        assert_eq!(read(&again), None);
    }
}
