//! A firmware image that is part of this crate.

use std::io;
use std::path::Path;

/// A firmware image, for [`MachineBuilder::firmware`](crate::MachineBuilder::firmware).
#[derive(Debug, Clone, Copy)]
pub struct Firmware {
    pub(crate) file_name: &'static str,
    pub(crate) image: &'static [u8],
}

impl Firmware {
    /// The image itself.
    pub fn image(&self) -> &'static [u8] {
        self.image
    }

    /// The name of its file in a machine's private directory.
    pub fn file_name(&self) -> &'static str {
        self.file_name
    }

    /// Writes the image to a file, for `-bios`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_to(&self, path: impl AsRef<Path>) -> io::Result<()> {
        std::fs::write(path, self.image)
    }
}
