//! Taps and transcripts: they receive every message of a connection, in both
//! directions.
//!
//! Never shows messages in another order than on the wire.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Instant;

use qemu_qmp_engine as engine;
use qemu_qmp_engine::queue::Queued;

use super::{NextItem, Subscription};
use crate::Disconnected;

type Queue = qemu_qmp_engine::queue::Queue<Message, Disconnected>;

/// The direction of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From this side to the server.
    Sent,
    /// From the server to this side.
    Received,
}

/// A line of the protocol, as it was on the wire.
///
/// It is cheap to clone: a clone shares the line.
#[derive(Clone)]
pub struct Message {
    direction: Direction,
    line: Arc<[u8]>,
}

impl Message {
    /// The message's direction.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The line without its end.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The line as JSON.
    ///
    /// # Errors
    /// The line is not JSON: a hostile server may send anything.
    pub fn json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::from_slice(&self.line)
    }
}

impl fmt::Display for Message {
    /// `<` or `>`, as in QEMU's own examples, and the line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = self.direction.sign();
        write!(f, "{sign} {}", String::from_utf8_lossy(&self.line))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({self})")
    }
}

impl Queued for Message {
    fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.line.len()
    }
}

impl Direction {
    fn sign(self) -> char {
        match self {
            Self::Sent => '>',
            Self::Received => '<',
        }
    }
}

/// Receives every message of a connection from the moment it was made, in both
/// directions and in the order of the wire; made by
/// [`Client::tap`](crate::Client::tap).
pub type Tap = Subscription<Message>;

/// Waits for a message; made by [`Tap`].
pub type NextMessage<'a> = NextItem<'a, Message>;

/// A file to which a connection writes every message, in both directions.
///
/// It has JSON lines. Each has the direction `dir` (`>` to the server, `<` from
/// it), the time `at` in seconds since the connection was made, and the `bytes`.
/// A clone writes to the same file.
#[derive(Debug, Clone)]
pub struct Transcript(Arc<Mutex<TranscriptFile>>);

#[derive(Debug)]
struct TranscriptFile {
    file: File,
    begun: Instant,
    failed: Option<io::Error>,
}

impl Transcript {
    /// Writes to a file with this path. It replaces an existing file.
    ///
    /// # Errors
    /// The file cannot be created.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open(File::options().create(true).truncate(true), path.as_ref())
    }

    /// Writes to this file, from its current position.
    ///
    /// A pipe or a terminal is opened a second time, so that the caller's mode
    /// does not change. If its reader does not read, messages are lost: the
    /// connection never waits for it.
    ///
    /// # Errors
    /// The file is a socket, which cannot be opened a second time, or a pipe
    /// whose other end is closed.
    pub fn to_file(file: File) -> io::Result<Self> {
        if file.metadata()?.is_file() {
            return Ok(Self::new(file));
        }
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Self::open(&mut File::options(), path.as_ref())
    }

    fn open(options: &mut OpenOptions, path: &Path) -> io::Result<Self> {
        // Otherwise the engine would wait for a reader that does not read.
        let file = options.write(true).custom_flags(libc::O_NONBLOCK);
        file.open(path).map(Self::new)
    }

    fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new(TranscriptFile {
            file,
            begun: Instant::now(),
            failed: None,
        })))
    }

    /// Why the transcript is incomplete; `None` while all was written. After a
    /// failure, nothing more is written.
    pub fn write_error(&self) -> Option<String> {
        let transcript = self.lock();
        let failed = transcript.failed.as_ref();
        failed.map(|error| format!("the transcript is incomplete: {error}"))
    }

    fn write(&self, direction: Direction, line: &[u8]) {
        let end = match direction {
            Direction::Sent => "\n",
            Direction::Received => "\r\n",
        };
        let mut transcript = self.lock();
        if transcript.failed.is_some() {
            return;
        }
        let entry = serde_json::json!({
            "dir": direction.sign(),
            "at": transcript.begun.elapsed().as_secs_f64(),
            "bytes": format!("{}{end}", String::from_utf8_lossy(line)),
        });
        // One call for each line, so that the lines are in the file even if this
        // process ends.
        if let Err(error) = transcript.file.write_all(format!("{entry}\n").as_bytes()) {
            engine::log(log::Level::Warn, module_path!(), || {
                format!("a transcript is incomplete: {error}")
            });
            transcript.failed = Some(error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, TranscriptFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The receivers of a connection's messages.
#[derive(Default)]
pub(super) struct Taps {
    exist: AtomicBool,
    receivers: Mutex<Receivers>,
}

#[derive(Default)]
struct Receivers {
    transcript: Option<Transcript>,
    queues: Vec<Arc<Queue>>,
    is_over: bool,
}

impl Taps {
    pub(super) fn new(transcript: Option<Transcript>) -> Self {
        Self {
            exist: AtomicBool::new(transcript.is_some()),
            receivers: Mutex::new(Receivers {
                transcript,
                ..Receivers::default()
            }),
        }
    }

    /// Whether there is a receiver.
    pub(super) fn exist(&self) -> bool {
        self.exist.load(Ordering::Acquire)
    }

    /// `false` if the connection has ended.
    pub(super) fn add(&self, queue: &Arc<Queue>) -> bool {
        let mut receivers = self.lock();
        if receivers.is_over {
            return false;
        }
        receivers.queues.retain(|queue| !queue.is_abandoned());
        receivers.queues.push(Arc::clone(queue));
        self.exist.store(true, Ordering::Release);
        true
    }

    /// Shows a received message.
    pub(super) fn show(&self, direction: Direction, line: &[u8]) {
        let wakers = self.lock().show(direction, line);
        engine::wake_all(wakers);
    }

    /// Sends by `send`, and shows the line before its reply can be shown.
    pub(super) fn show_sent<T, E>(
        &self,
        line: &[u8],
        send: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut receivers = self.lock();
        let done = send()?;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let wakers = receivers.show(Direction::Sent, line);
        drop(receivers);
        engine::wake_all(wakers);
        Ok(done)
    }

    /// Ends all receivers. Returns the queues that must be notified of the end.
    pub(super) fn end(&self) -> Vec<Arc<Queue>> {
        let mut receivers = self.lock();
        receivers.is_over = true;
        receivers.transcript = None;
        std::mem::take(&mut receivers.queues)
    }

    fn lock(&self) -> MutexGuard<'_, Receivers> {
        self.receivers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receivers {
    /// Returns the wakers to wake when nothing is locked: waking may run their
    /// executors' code.
    #[must_use]
    fn show(&mut self, direction: Direction, line: &[u8]) -> Vec<Waker> {
        if let Some(transcript) = &self.transcript {
            transcript.write(direction, line);
        }
        self.queues.retain(|queue| !queue.is_abandoned());
        if self.queues.is_empty() {
            return Vec::new();
        }
        let message = Message {
            direction,
            line: line.into(),
        };
        let queues = self.queues.iter();
        queues
            .filter_map(|queue| queue.put(message.clone()))
            .collect()
    }
}
