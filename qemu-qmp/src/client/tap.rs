//! Who sees every message of a connection, both ways: taps, and transcripts.
//!
//! Never lets a message be seen in another order than it had on the wire.

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

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From us to the server.
    Sent,
    /// From the server to us.
    Received,
}

/// A line of the protocol, as it stood on the wire.
///
/// A cheap handle: a clone shares the line.
#[derive(Clone)]
pub struct Message {
    direction: Direction,
    line: Arc<[u8]>,
}

impl Message {
    /// Which way it went.
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
    /// It is none: a hostile server may send anything.
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

/// Receives every message of a connection, both ways and in the order of the
/// wire, from the moment it was made; made by [`Client::tap`](crate::Client::tap).
pub type Tap = Subscription<Message>;

/// Waits for a message; made by [`Tap`].
pub type NextMessage<'a> = NextItem<'a, Message>;

/// A file to which a connection writes every message, both ways, from its
/// first on: JSON lines, each with the direction (`>` to the server, `<` from
/// it), the time in seconds since the connection was made, and the bytes.
///
/// A clone writes to the same file.
#[derive(Debug, Clone)]
pub struct Transcript(Arc<Mutex<Book>>);

#[derive(Debug)]
struct Book {
    file: File,
    begun: Instant,
    failed: Option<io::Error>,
}

impl Transcript {
    /// Writes to a new file of this path, or over the one that is there.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn create(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open(File::options().create(true).truncate(true), path.as_ref())
    }

    /// Writes to this file, from where it stands. A pipe or a terminal is opened
    /// once more, so that it stays as it is for others; one who does not read
    /// from it loses what comes then, and is waited for by nobody.
    ///
    /// # Errors
    /// It is a socket, which cannot be opened so, or a pipe of which the other
    /// end is closed.
    pub fn to_file(file: File) -> io::Result<Self> {
        if file.metadata()?.is_file() {
            return Ok(Self::new(file));
        }
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Self::open(&mut File::options(), path.as_ref())
    }

    fn open(options: &mut OpenOptions, path: &Path) -> io::Result<Self> {
        // One who does not read would be waited for, on the engine.
        let file = options.write(true).custom_flags(libc::O_NONBLOCK);
        file.open(path).map(Self::new)
    }

    fn new(file: File) -> Self {
        Self(Arc::new(Mutex::new(Book {
            file,
            begun: Instant::now(),
            failed: None,
        })))
    }

    /// Why it is not whole; `None` where all was written. After a failure
    /// nothing more is written.
    pub fn trouble(&self) -> Option<String> {
        let book = self.lock();
        let failed = book.failed.as_ref();
        failed.map(|error| format!("the transcript is not whole: {error}"))
    }

    fn write(&self, direction: Direction, line: &[u8]) {
        let end = match direction {
            Direction::Sent => "\n",
            Direction::Received => "\r\n",
        };
        let mut book = self.lock();
        if book.failed.is_some() {
            return;
        }
        let entry = serde_json::json!({
            "dir": direction.sign(),
            "at": book.begun.elapsed().as_secs_f64(),
            "bytes": format!("{}{end}", String::from_utf8_lossy(line)),
        });
        // One call for each line, so that what was written is there whatever
        // becomes of us.
        if let Err(error) = book.file.write_all(format!("{entry}\n").as_bytes()) {
            engine::log(log::Level::Warn, module_path!(), || {
                format!("a transcript is not whole: {error}")
            });
            book.failed = Some(error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that see a connection's messages.
#[derive(Default)]
pub(super) struct Taps {
    are_there: AtomicBool,
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    transcript: Option<Transcript>,
    queues: Vec<Arc<Queue>>,
    is_over: bool,
}

impl Taps {
    pub(super) fn new(transcript: Option<Transcript>) -> Self {
        Self {
            are_there: AtomicBool::new(transcript.is_some()),
            books: Mutex::new(Books {
                transcript,
                ..Books::default()
            }),
        }
    }

    /// Whether anybody sees anything: else nothing need be done.
    pub(super) fn are_there(&self) -> bool {
        self.are_there.load(Ordering::Acquire)
    }

    /// `false` where the connection has ended.
    pub(super) fn add(&self, queue: &Arc<Queue>) -> bool {
        let mut books = self.lock();
        if books.is_over {
            return false;
        }
        books.queues.retain(|queue| !queue.is_abandoned());
        books.queues.push(Arc::clone(queue));
        self.are_there.store(true, Ordering::Release);
        true
    }

    /// Shows a message that came.
    pub(super) fn show(&self, direction: Direction, line: &[u8]) {
        let wakers = self.lock().show(direction, line);
        engine::wake_all(wakers);
    }

    /// Sends by `send`, and shows what was sent, before a reply to it can be
    /// shown.
    pub(super) fn show_sent<T, E>(
        &self,
        line: &[u8],
        send: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut books = self.lock();
        let done = send()?;
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let wakers = books.show(Direction::Sent, line);
        drop(books);
        engine::wake_all(wakers);
        Ok(done)
    }

    /// The connection has ended: gives whom to tell, and lets go of the rest.
    pub(super) fn end(&self) -> Vec<Arc<Queue>> {
        let mut books = self.lock();
        books.is_over = true;
        books.transcript = None;
        std::mem::take(&mut books.queues)
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Gives whom to wake once nothing is locked: that may run code of theirs.
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
