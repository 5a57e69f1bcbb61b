//! Reads and writes whole files of the guest.
//!
//! Never leaves a file open in the guest, also on failure or a dropped future.

use std::sync::Arc;

use qemu_qmp_engine::{operation, timeout_option};

use serde_core::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::base64::{Bytes, encode};
use super::call::{Operation, Request, Running, line, typed};
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
            let arguments = json!({"handle": file.handle, "count": CHUNK_BYTES});
            let Chunk { read, is_last } = running.call(READ, arguments).await?;
            if bytes.len() + read.len() > self.limit_bytes {
                let limit_bytes = self.limit_bytes;
                return Err(running.error(READ, AgentFailure::FileTooLarge { limit_bytes }));
            }
            bytes.extend_from_slice(&read);
            if is_last {
                break;
            }
        }
        file.close().await?;
        Ok(bytes)
    }
}

operation!(WriteFile => Result<(), AgentError>);

impl WriteFile {
    async fn run(self) -> Result<(), AgentError> {
        let running = self.operation.begin();
        let file = OpenFile::open(&running, &self.path, "wb").await?;
        let mut rest = self.bytes.as_slice();
        while !rest.is_empty() {
            let chunk = &rest[..rest.len().min(CHUNK_BYTES)];
            let arguments = json!({"handle": file.handle, "buf-b64": encode(chunk)});
            let received: Box<RawValue> = running.call(WRITE, arguments).await?;
            match written_bytes(&received, chunk.len()) {
                Ok(count) => rest = &rest[count..],
                Err(cause) => {
                    let failure = AgentFailure::Shape {
                        received,
                        cause: Arc::new(cause),
                    };
                    return Err(running.error(WRITE, failure));
                }
            }
        }
        // Closing writes what the agent has buffered, so it may fail.
        file.close().await
    }
}

/// A file that is open in the guest, until this is dropped.
struct OpenFile<'a> {
    running: &'a Running<'a>,
    handle: i64,
    is_open: bool,
}

impl<'a> OpenFile<'a> {
    async fn open(running: &'a Running<'a>, path: &str, mode: &str) -> Result<Self, AgentError> {
        let arguments = serde_json::value::to_raw_value(&json!({"path": path, "mode": mode}));
        let opened = async {
            let request = Request::Open(line(OPEN, arguments)?);
            typed(running.answer(request).await?)
        };
        let handle = opened.await.map_err(|it| running.error(OPEN, it))?;
        Ok(Self {
            running,
            handle,
            is_open: true,
        })
    }

    async fn close(mut self) -> Result<(), AgentError> {
        let arguments = json!({"handle": self.handle});
        let closed = self
            .running
            .call::<Value>("guest-file-close", arguments)
            .await;
        // If the command was sent, the agent does not know the handle any more.
        let unsent = |error: &AgentError| {
            matches!(
                *error.failure,
                AgentFailure::Busy { .. } | AgentFailure::NotReady { .. }
            )
        };
        self.is_open = closed.as_ref().is_err_and(unsent);
        closed.map(drop)
    }
}

impl Drop for OpenFile<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.running.abandon_file(self.handle);
        }
    }
}

/// The answer to `guest-file-read`.
struct Chunk {
    read: Vec<u8>,
    is_last: bool,
}

impl<'de> Deserialize<'de> for Chunk {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reply = Value::deserialize(deserializer)?;
        let read = match &reply["buf-b64"] {
            Value::Null => Bytes::default(),
            text => Bytes::deserialize(text).map_err(D::Error::custom)?,
        };
        let Bytes(read) = read;
        let is_last = reply["eof"].as_bool();
        let is_last = is_last.ok_or_else(|| D::Error::custom("no `eof`"))?;
        if reply["count"].as_u64() != Some(read.len() as u64) {
            return Err(D::Error::custom("`count` differs from the number of bytes"));
        }
        if read.is_empty() && !is_last {
            return Err(D::Error::custom("no bytes, but not the end of the file"));
        }
        Ok(Self { read, is_last })
    }
}

/// How many bytes `guest-file-write` reports as written.
fn written_bytes(received: &RawValue, bytes: usize) -> serde_json::Result<usize> {
    let reply: Value = serde_json::from_str(received.get())?;
    let count = reply["count"].as_u64();
    let count = count.and_then(|count| usize::try_from(count).ok());
    count
        .filter(|count| (1..=bytes).contains(count))
        .ok_or_else(|| serde_json::Error::custom(format_args!("no `count` from 1 to {bytes}")))
}

/// How many bytes one command reads or writes. Other commands may run between two
/// of these.
const CHUNK_BYTES: usize = 256 << 10;

const OPEN: &str = "guest-file-open";
const READ: &str = "guest-file-read";
const WRITE: &str = "guest-file-write";
