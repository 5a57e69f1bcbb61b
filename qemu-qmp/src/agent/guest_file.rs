//! A file of the guest that is read or written piece by piece.

use qemu_qmp_engine::{operation, timeout_option};

use super::call::Operation;
use super::open_file::OpenFile;
use super::{AgentError, GuestAgent};

/// Opens a file of the guest; made by [`GuestAgent::open_file`] and
/// [`GuestAgent::create_file`].
///
/// # Errors
/// [`AgentError`]; its [`failure`](AgentError::failure) is the reason.
///
/// # Cancel safety
/// If the future is dropped, the agent closes the file.
#[must_use = "nothing is opened until awaited or waited for"]
pub struct OpenGuestFile {
    operation: Operation,
    path: String,
    mode: &'static str,
}

/// A file that is open in the guest.
///
/// The agent closes it when this handle is dropped, or by [`close`](Self::close).
pub struct GuestFile {
    file: OpenFile,
    agent: GuestAgent,
    path: String,
}

/// Reads the next piece of a file; made by [`GuestFile::read`].
///
/// The result is `None` at the end of the file.
///
/// # Errors
/// [`AgentError`]; its [`failure`](AgentError::failure) is the reason.
///
/// # Cancel safety
/// If the future is dropped, a piece may be lost.
#[must_use = "nothing is read until awaited or waited for"]
pub struct ReadPiece<'a> {
    operation: Operation,
    file: &'a mut GuestFile,
}

/// Writes to a file; made by [`GuestFile::write`].
///
/// # Errors
/// [`AgentError`]; its [`failure`](AgentError::failure) is the reason. The file
/// may then have a part of the bytes.
///
/// # Cancel safety
/// If the future is dropped, the file may have a part of the bytes.
#[must_use = "nothing is written until awaited or waited for"]
pub struct WritePiece<'a> {
    operation: Operation,
    file: &'a mut GuestFile,
    bytes: Vec<u8>,
}

/// Closes a file; made by [`GuestFile::close`].
///
/// # Errors
/// [`AgentError`]; its [`failure`](AgentError::failure) is the reason. A file that
/// was written may not have all of its bytes then.
///
/// # Cancel safety
/// If the future is dropped, the agent closes the file.
#[must_use = "the file is closed, but errors are lost, unless awaited or waited for"]
pub struct CloseGuestFile {
    operation: Operation,
    file: GuestFile,
}

timeout_option!(OpenGuestFile, operation.timeout);
timeout_option!(ReadPiece<'_>, operation.timeout);
timeout_option!(WritePiece<'_>, operation.timeout);
timeout_option!(CloseGuestFile, operation.timeout);

impl GuestAgent {
    /// Opens a file of the guest, to read it piece by piece. Use it for a file
    /// that is too large for [`read_file`](Self::read_file).
    ///
    /// # Examples
    /// ```no_run
    /// use std::io::Write;
    ///
    /// use qemu_qmp::Wait;
    /// # use qemu_qmp::agent::GuestAgent;
    ///
    /// # fn fetch(agent: &GuestAgent) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut core = agent.open_file("/var/core").wait()?;
    /// let mut copy = std::fs::File::create("core")?;
    /// while let Some(piece) = core.read().wait()? {
    ///     copy.write_all(&piece)?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_file(&self, path: impl Into<String>) -> OpenGuestFile {
        OpenGuestFile::new(self.clone(), path.into(), "rb")
    }

    /// Creates a file in the guest, to write it piece by piece. It replaces an
    /// existing file.
    pub fn create_file(&self, path: impl Into<String>) -> OpenGuestFile {
        OpenGuestFile::new(self.clone(), path.into(), "wb")
    }
}

impl OpenGuestFile {
    fn new(agent: GuestAgent, path: String, mode: &'static str) -> Self {
        Self {
            operation: Operation::new(agent),
            path,
            mode,
        }
    }
}

impl GuestFile {
    /// Reads the next piece, up to 1 MiB.
    pub fn read(&mut self) -> ReadPiece<'_> {
        ReadPiece {
            operation: Operation::new(self.agent.clone()),
            file: self,
        }
    }

    /// Writes all of these bytes, after the earlier ones.
    pub fn write(&mut self, bytes: impl Into<Vec<u8>>) -> WritePiece<'_> {
        WritePiece {
            operation: Operation::new(self.agent.clone()),
            file: self,
            bytes: bytes.into(),
        }
    }

    /// Closes the file. The agent may write the last bytes only now, so a file
    /// that was written needs this to be sure.
    pub fn close(self) -> CloseGuestFile {
        CloseGuestFile {
            operation: Operation::new(self.agent.clone()),
            file: self,
        }
    }
}

operation!(OpenGuestFile => Result<GuestFile, AgentError>);

impl OpenGuestFile {
    async fn run(self) -> Result<GuestFile, AgentError> {
        let Self {
            operation,
            path,
            mode,
        } = self;
        let file = OpenFile::open(&operation.begin(), &path, mode).await?;
        let agent = operation.agent();
        Ok(GuestFile { file, agent, path })
    }
}

operation!({'a} ReadPiece<'a> => Result<Option<Vec<u8>>, AgentError>, 'a);

impl ReadPiece<'_> {
    async fn run(self) -> Result<Option<Vec<u8>>, AgentError> {
        let running = self.operation.begin();
        let chunk = self.file.file.read(&running, PIECE_BYTES).await?;
        Ok(Some(chunk.read).filter(|read| !read.is_empty()))
    }
}

operation!({'a} WritePiece<'a> => Result<(), AgentError>, 'a);

impl WritePiece<'_> {
    async fn run(self) -> Result<(), AgentError> {
        let running = self.operation.begin();
        for piece in self.bytes.chunks(PIECE_BYTES) {
            self.file.file.write(&running, piece).await?;
        }
        Ok(())
    }
}

operation!(CloseGuestFile => Result<(), AgentError>);

impl CloseGuestFile {
    async fn run(self) -> Result<(), AgentError> {
        let running = self.operation.begin();
        self.file.file.close(&running).await
    }
}

impl std::fmt::Debug for GuestFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// How much one command reads or writes. Other commands may run between two of
/// these.
const PIECE_BYTES: usize = 1 << 20;
