//! A file that is open in the guest, and the commands on it.
//!
//! Never leaves a file open in the guest, also on failure or a dropped future.

use std::sync::Arc;

use serde_core::de::{Deserialize, Deserializer, Error as _};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::base64::{Bytes, encode};
use super::call::{Request, Running, line, typed};
use super::{AgentError, AgentFailure, Shared};

/// A file that is open in the guest, until this is dropped.
pub(super) struct OpenFile {
    shared: Arc<Shared>,
    handle: i64,
    is_open: bool,
}

impl OpenFile {
    pub(super) async fn open(
        running: &Running<'_>,
        path: &str,
        mode: &str,
    ) -> Result<Self, AgentError> {
        let arguments = serde_json::value::to_raw_value(&json!({"path": path, "mode": mode}));
        let opened = async {
            let request = Request::Open(line(OPEN, arguments)?);
            typed(running.answer(request).await?)
        };
        let handle = opened.await.map_err(|it| running.error(OPEN, it))?;
        Ok(Self {
            shared: Arc::clone(running.shared()),
            handle,
            is_open: true,
        })
    }

    /// Reads up to this number of bytes from the current position.
    pub(super) async fn read(
        &self,
        running: &Running<'_>,
        count: usize,
    ) -> Result<Chunk, AgentError> {
        let arguments = json!({"handle": self.handle, "count": count});
        running.call(READ, arguments).await
    }

    /// Writes all of these bytes. The agent may keep them until a
    /// [flush](Self::flush) or the close.
    pub(super) async fn write(
        &self,
        running: &Running<'_>,
        bytes: &[u8],
    ) -> Result<(), AgentError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let arguments = json!({"handle": self.handle, "buf-b64": encode(rest)});
            let received: Box<RawValue> = running.call(WRITE, arguments).await?;
            match written_bytes(&received, rest.len()) {
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
        Ok(())
    }

    /// Passes on what the agent has kept of the written bytes.
    pub(super) async fn flush(&self, running: &Running<'_>) -> Result<(), AgentError> {
        let arguments = json!({"handle": self.handle});
        let flushed = running.call::<Value>("guest-file-flush", arguments);
        flushed.await.map(drop)
    }

    /// Continues at this distance from the file's start.
    pub(super) async fn seek(&self, running: &Running<'_>, offset: u64) -> Result<(), AgentError> {
        let arguments = json!({"handle": self.handle, "offset": offset, "whence": 0});
        let moved = running.call::<Value>("guest-file-seek", arguments);
        moved.await.map(drop)
    }

    pub(super) async fn close(mut self, running: &Running<'_>) -> Result<(), AgentError> {
        let arguments = json!({"handle": self.handle});
        let closed = running.call::<Value>("guest-file-close", arguments).await;
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

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.is_open {
            self.shared.close_file(self.handle);
        }
    }
}

/// The answer to `guest-file-read`.
pub(super) struct Chunk {
    pub(super) read: Vec<u8>,
    pub(super) is_last: bool,
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

const OPEN: &str = "guest-file-open";
pub(super) const READ: &str = "guest-file-read";
const WRITE: &str = "guest-file-write";
