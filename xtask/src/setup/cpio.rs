//! Writes a cpio archive in the `newc` format, for an initramfs (the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`).
//!
//! The same entries always make the same bytes. The archive has no times, owners
//! or inodes of this host.

/// An unfinished archive.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub(crate) fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, (0, 0), &[]);
    }

    /// A file that every user may run.
    pub(crate) fn program(&mut self, name: &str, contents: &[u8]) {
        self.entry(name, 0o100_755, (0, 0), contents);
    }

    pub(crate) fn symlink(&mut self, name: &str, target: &str) {
        self.entry(name, 0o120_777, (0, 0), target.as_bytes());
    }

    pub(crate) fn character_device(&mut self, name: &str, device: (u32, u32)) {
        self.entry(name, 0o020_600, device, &[]);
    }

    /// The archive's bytes, with the trailer.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        // Entries with the same inode would be hard links.
        self.entries += 1;
        let size = |bytes: usize| u32::try_from(bytes).expect("a guest's file is below 4 GiB");
        let header = [
            self.entries,
            mode,
            0, // user
            0, // group
            1, // links
            0, // time
            size(contents.len()),
            0, // the device it is on
            0,
            device.0,
            device.1,
            size(name.len() + 1),
            0, // no checksum in this format
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in header {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: usize = 6 + 13 * 8;

    fn field(entry: &[u8], index: usize) -> u32 {
        let digits = &entry[6 + index * 8..][..8];
        u32::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap()
    }

    #[test]
    fn an_empty_archive_is_its_trailer() {
        let bytes = Archive::default().into_bytes();
        let expected = "070701\
            00000001000000000000000000000000000000010000000000000000\
            000000000000000000000000000000000000000b00000000\
            TRAILER!!!\0\0\0\0";
        assert_eq!(str::from_utf8(&bytes).unwrap(), expected);
    }

    #[test]
    fn names_and_contents_are_padded_to_words() {
        for length in 0..9 {
            let mut archive = Archive::default();
            archive.program(&"n".repeat(length + 1), &vec![b'c'; length]);
            let bytes = archive.into_bytes();
            assert_eq!(bytes.len() % 4, 0);
            let name_end = (HEADER + length + 2).next_multiple_of(4);
            let end = (name_end + length).next_multiple_of(4);
            assert_eq!(&bytes[name_end..][..length], vec![b'c'; length]);
            assert_eq!(&bytes[end..][..6], b"070701");
        }
    }

    #[test]
    fn a_device_has_its_numbers_and_a_link_its_target() {
        let mut archive = Archive::default();
        archive.character_device("dev/console", (5, 1));
        let link = archive.bytes.len();
        archive.symlink("bin/sh", "busybox");
        let bytes = archive.into_bytes();
        assert_eq!(field(&bytes, 1), 0o020_600);
        assert_eq!((field(&bytes, 9), field(&bytes, 10)), (5, 1));
        assert_eq!(field(&bytes[link..], 0), 2);
        assert_eq!(field(&bytes[link..], 1), 0o120_777);
        assert_eq!(field(&bytes[link..], 6), 7);
        assert!(bytes[link..][HEADER..].starts_with(b"bin/sh\0\0\0\0busybox\0"));
    }
}
