//! Reads and writes whole files of the guest.
//!
//! Never leaves a file open in the guest, also on failure or a dropped future.

use qemu_qmp_engine::{operation, timeout_option};

use super::call::Operation;
use super::open_file::{Chunk, OpenFile, READ};
use super::{AgentError, AgentFailure, GuestAgent};

/// Reads a file of the guest; made by [`GuestAgent::read_file`].
///
/// # Errors
/// [`AgentError`]; its [`failure`](AgentError::failure) is the reason.
///
/// # Cancel safety
/// If the future is dropped, the agent closes the file.
#[must_use = "nothing is read until awaited or waited for"]
pub struct ReadFile {
    operation: Operation,
    path: String,
    limit_bytes: usize,
}

/// Writes a file in the guest; made by [`GuestAgent::write_file`].
///
/// # Errors
/// [`AgentError`]; its [`failure`](AgentError::failure) is the reason. The file
/// may then have only a part of the bytes.
///
/// # Cancel safety
/// If the future is dropped, the agent closes the file. The file may then have
/// only a part of the bytes.
#[must_use = "nothing is written until awaited or waited for"]
pub struct WriteFile {
    operation: Operation,
    path: String,
    bytes: Vec<u8>,
}

timeout_option!(ReadFile, operation.timeout);
timeout_option!(WriteFile, operation.timeout);

impl ReadFile {
    pub(super) fn new(agent: GuestAgent, path: String) -> Self {
        Self {
            operation: Operation::new(agent),
            path,
            limit_bytes: 256 << 20,
        }
    }

    /// Sets the longest file that is read, in bytes. The default is 256 MiB.
    pub fn limit_bytes(mut self, limit: usize) -> Self {
        self.limit_bytes = limit;
        self
    }
}

impl WriteFile {
    pub(super) fn new(agent: GuestAgent, path: String, bytes: Vec<u8>) -> Self {
        Self {
            operation: Operation::new(agent),
            path,
            bytes,
        }
    }
}

operation!(ReadFile => Result<Vec<u8>, AgentError>);

impl ReadFile {
    async fn run(self) -> Result<Vec<u8>, AgentError> {
        let running = self.operation.begin();
        let file = OpenFile::open(&running, &self.path, "rb").await?;
        let mut bytes = Vec::new();
        loop {
            let Chunk { read, is_last } = file.read(&running, CHUNK_BYTES).await?;
            if bytes.len() + read.len() > self.limit_bytes {
                let limit_bytes = self.limit_bytes;
                return Err(running.error(READ, AgentFailure::FileTooLarge { limit_bytes }));
            }
            bytes.extend_from_slice(&read);
            if is_last {
                break;
            }
        }
        file.close(&running).await?;
        Ok(bytes)
    }
}

operation!(WriteFile => Result<(), AgentError>);

impl WriteFile {
    async fn run(self) -> Result<(), AgentError> {
        let running = self.operation.begin();
        let file = OpenFile::open(&running, &self.path, "wb").await?;
        for chunk in self.bytes.chunks(CHUNK_BYTES) {
            file.write(&running, chunk).await?;
        }
        // Closing writes what the agent has buffered, so it may fail.
        file.close(&running).await
    }
}

/// How many bytes one command reads or writes. Other commands may run between two
/// of these.
const CHUNK_BYTES: usize = 256 << 10;
