//! The images below a qcow2 image.
//!
//! QEMU's `docs/interop/qcow2.rst` describes the header: the name of the backing
//! file by its place and length, and extensions, of which one names a file for
//! the data.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::spec::image::file_of_image;

/// The files that this image needs. Without a header of qcow2 there are none.
pub(super) fn below(image: &Path) -> Vec<PathBuf> {
    let Ok(file) = File::open(image) else {
        return Vec::new();
    };
    let names = [backing_name(&file), data_name(&file)];
    let names = names.into_iter().filter_map(Result::ok).flatten();
    let parent = image.parent().unwrap_or(Path::new(""));
    let files = names.flat_map(|name| file_of_image(OsStr::from_bytes(&name)));
    // A name counts from the image.
    files.map(|name| parent.join(name)).collect()
}

fn backing_name(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 20];
    file.read_exact_at(&mut header, 0)?;
    let [offset, length] = [number(&header[8..16]), number(&header[16..20])];
    if header[..4] != *MAGIC || offset == 0 || length > NAME_BYTES {
        return Ok(None);
    }
    name_at(file, offset, length).map(Some)
}

fn data_name(file: &File) -> io::Result<Option<Vec<u8>>> {
    let mut header = [0; 104];
    file.read_exact_at(&mut header, 0)?;
    // Version 2 has no extensions of this kind.
    if header[..4] != *MAGIC || number(&header[4..8]) < 3 {
        return Ok(None);
    }
    let mut at = number(&header[100..104]);
    for _ in 0..EXTENSIONS {
        let mut extension = [0; 8];
        file.read_exact_at(&mut extension, at)?;
        let [kind, length] = [number(&extension[..4]), number(&extension[4..])];
        match kind {
            0 => break,
            DATA_FILE if length <= NAME_BYTES => return name_at(file, at + 8, length).map(Some),
            _ => at += 8 + length.next_multiple_of(8),
        }
    }
    Ok(None)
}

fn name_at(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut name = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut name, offset)?;
    Ok(name)
}

/// A number in the order of qcow2.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

const MAGIC: &[u8; 4] = b"QFI\xfb";
const DATA_FILE: u64 = 0x4441_5441;
/// The longest name that qcow2 allows.
const NAME_BYTES: u64 = 1023;
/// More than there are.
const EXTENSIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn image(version: u32, tail: &[u8], backing: Option<(u64, u32)>) -> Vec<u8> {
        let (offset, length) = backing.unwrap_or_default();
        let mut bytes = MAGIC.to_vec();
        bytes.extend(version.to_be_bytes());
        bytes.extend(offset.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.resize(100, 0);
        bytes.extend(104_u32.to_be_bytes());
        bytes.extend(tail);
        bytes
    }

    #[test]
    fn the_backing_file_and_the_file_of_the_data_are_found() {
        let folder = std::env::temp_dir().join(format!("backing-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("image");
        let of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            below(&path)
        };
        let mut tail = [1_u32.to_be_bytes(), 3_u32.to_be_bytes()].concat();
        tail.extend([0; 8]);
        tail.extend(0x4441_5441_u32.to_be_bytes());
        tail.extend(8_u32.to_be_bytes());
        tail.extend(b"data.raw");
        tail.extend([0; 8]);
        tail.extend(b"base.img");
        let at = 104 + u64::try_from(tail.len()).unwrap() - 8;
        assert_eq!(
            of(&image(3, &tail, Some((at, 8)))),
            [folder.join("base.img"), folder.join("data.raw")]
        );
        assert_eq!(
            of(&image(2, &tail, Some((at, 8)))),
            [folder.join("base.img")]
        );
        assert!(of(&image(3, &[0; 8], None)).is_empty());
        // Damaged, or of another format.
        assert_eq!(
            of(&image(3, &tail, Some((5000, 8)))),
            [folder.join("data.raw")]
        );
        assert!(of(b"QFI\xfb").is_empty());
        assert!(of(&[0; 4096]).is_empty());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
