//! The transcript of the monitor, in a file that no other machine writes.

use std::io;
use std::path::Path;

use qemu_qmp::Transcript;

use crate::output::claimed_file::ClaimedFile;

/// A transcript, and its claim on the file.
#[derive(Debug)]
pub(crate) struct TranscriptFile {
    transcript: Transcript,
    claimed: ClaimedFile,
}

impl TranscriptFile {
    /// Creates or truncates the file, or another one; see [`ClaimedFile`].
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let claimed = ClaimedFile::create(path)?;
        let transcript = Transcript::to_file(claimed.file().try_clone()?)?;
        Ok(Self {
            transcript,
            claimed,
        })
    }

    pub(crate) fn transcript(&self) -> Transcript {
        self.transcript.clone()
    }

    pub(crate) fn path(&self) -> &Path {
        self.claimed.path()
    }

    /// Why it is incomplete; `None` if everything was written.
    pub(crate) fn write_error(&self) -> Option<String> {
        self.transcript.write_error()
    }
}
