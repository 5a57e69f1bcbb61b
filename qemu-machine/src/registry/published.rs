//! A published machine, as other programs see it.

use std::path::{Path, PathBuf};

use super::entry::Entry;
use super::{claim, file_name};

/// A machine that a program of this user has published; found by
/// [`find`](super::find) and [`list`](super::list).
///
/// It is only a name and what the owner wrote. The machine may have ended since.
#[derive(Debug, Clone)]
pub struct PublishedMachine {
    folder: PathBuf,
    entry: Entry,
}

impl PublishedMachine {
    /// The machine of this folder, if its owner lives and its launch is done.
    pub(super) fn living(folder: PathBuf) -> Option<Self> {
        let name = file_name(&folder)?;
        if !claim::is_owned(&folder) {
            return None;
        }
        let entry = Entry::read_from(&folder)?;
        // Not for a folder that was copied or renamed.
        (entry.name == name).then_some(Self { folder, entry })
    }

    /// The machine's name.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// What the owner wrote about the machine.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The folder of the machine, with its sockets.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
