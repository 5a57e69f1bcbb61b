//! Makes an empty qcow2 image over another image (QEMU's document
//! `docs/interop/qcow2`).
//!
//! ```text
//! cluster 0: header, format and name of the base    1: refcount table
//! cluster 2: refcount block                         3…: empty L1 table
//! ```

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An image below an overlay.
#[derive(Debug)]
pub(super) struct Base {
    path: PathBuf,
    format: Format,
    /// The size that the guest sees.
    size_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Raw,
    Qcow2,
}

impl Base {
    /// Looks at an image. Without a `format`, an image that begins as qcow2 does
    /// is one, and any other is raw.
    pub(super) fn open(path: &Path, format: Option<&str>) -> io::Result<Self> {
        // The overlay has the whole name: QEMU would look for a relative one
        // beside the overlay.
        let path = path.canonicalize()?;
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)?;
        let mut head = [0; 32];
        let length = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        let is_read = length >= head.len() as u64 && file.read_exact(&mut head).is_ok();
        let is_qcow2 = is_read && head[..4] == MAGIC;
        let (format, size_bytes) = match format {
            Some("qcow2") if !is_qcow2 => {
                return Err(io::Error::other("the image is not qcow2"));
            }
            Some("qcow2") | None if is_qcow2 => {
                let size = head[24..32].try_into().expect("8 bytes");
                (Format::Qcow2, u64::from_be_bytes(size))
            }
            Some("raw") | None => (Format::Raw, length),
            Some(_) => {
                return Err(io::Error::other(
                    "the image must be raw or qcow2; convert it with qemu-img",
                ));
            }
        };
        if path.as_os_str().len() > NAME_LIMIT {
            return Err(io::Error::other("the path is longer than 1023 bytes"));
        }
        Ok(Self {
            path,
            format,
            size_bytes: size_bytes.next_multiple_of(SECTOR),
        })
    }

    /// The same image, as an overlay in its directory names it. So the two can
    /// be moved together.
    pub(super) fn beside_the_overlay(mut self) -> Self {
        if let Some(name) = self.path.file_name() {
            self.path = name.into();
        }
        self
    }

    /// Makes an empty image over this one.
    pub(super) fn create_overlay(&self, path: &Path) -> io::Result<()> {
        let mut new = File::options();
        let file = new.write(true).create_new(true).mode(0o600).open(path)?;
        let tables = self.size_bytes.div_ceil(CLUSTER * CLUSTER / 8);
        let table_clusters = (tables * 8).div_ceil(CLUSTER);
        let clusters = FIRST_TABLE + table_clusters;
        if clusters > CLUSTER / 2 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        file.write_all_at(&self.header(tables), 0)?;
        file.write_all_at(&(2 * CLUSTER).to_be_bytes(), CLUSTER)?;
        let counts = 1_u16
            .to_be_bytes()
            .repeat(usize::try_from(clusters).expect("few"));
        file.write_all_at(&counts, 2 * CLUSTER)?;
        file.set_len(clusters * CLUSTER)
    }

    fn header(&self, tables: u64) -> Vec<u8> {
        let name = self.path.as_os_str().as_bytes();
        let format: &[u8] = match self.format {
            Format::Raw => b"raw",
            Format::Qcow2 => b"qcow2",
        };
        let mut format_padded = format.to_vec();
        format_padded.resize(8, 0);
        let name_at = u64::from(HEADER_LENGTH) + 8 + 8 + 8;
        let mut header = MAGIC.to_vec();
        let mut put = |bytes: &[u8]| header.extend_from_slice(bytes);
        put(&3_u32.to_be_bytes());
        put(&name_at.to_be_bytes());
        put(&length(name).to_be_bytes());
        put(&16_u32.to_be_bytes()); // Bits of a cluster.
        put(&self.size_bytes.to_be_bytes());
        put(&0_u32.to_be_bytes()); // No encryption.
        put(&u32::try_from(tables).expect("limited").to_be_bytes());
        put(&(FIRST_TABLE * CLUSTER).to_be_bytes());
        put(&CLUSTER.to_be_bytes()); // The refcount table,
        put(&1_u32.to_be_bytes()); // one cluster long.
        put(&[0; 12]); // No snapshots.
        put(&[0; 24]); // No features.
        put(&4_u32.to_be_bytes()); // Refcounts of 16 bits.
        put(&HEADER_LENGTH.to_be_bytes());
        put(&BASE_FORMAT.to_be_bytes());
        put(&length(format).to_be_bytes());
        put(&format_padded);
        put(&[0; 8]); // The end of the extensions.
        put(name);
        header
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("limited")
}

const MAGIC: [u8; 4] = *b"QFI\xfb";
const CLUSTER: u64 = 1 << 16;
const SECTOR: u64 = 512;
const HEADER_LENGTH: u32 = 104;
const FIRST_TABLE: u64 = 3;
/// The type of the extension with the base's format.
const BASE_FORMAT: u32 = 0xe279_2aca;
/// The limit of the base's name.
const NAME_LIMIT: usize = 1023;
