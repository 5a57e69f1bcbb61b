//! The output of QEMU itself: its standard output and error. All of it is
//! logged, and its tail is kept for errors and reports.

mod claimed_file;
pub(crate) mod tee;
mod transcript_file;

pub(crate) use transcript_file::TranscriptFile;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, PipeReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use qemu_qmp_engine as engine;

use crate::output::claimed_file::ClaimedFile;
use crate::output::tee::Feed;
use crate::sys;

/// The output of QEMU. Clones share it. They have no descriptor after
/// [`close`](Self::close).
#[derive(Debug, Clone)]
pub(crate) struct Output(Arc<Mutex<Sink>>);

#[derive(Debug)]
struct Sink {
    tail: Tail,
    log: Option<LogFile>,
    tee: Option<Feed>,
}

/// The reading end of the output of QEMU, and where it goes.
#[derive(Debug, Clone)]
pub(crate) struct OutputPipe {
    pipe: Arc<PipeReader>,
    output: Output,
}

impl Output {
    fn new(log: LogFile, tee: Option<Feed>) -> Self {
        Self(Arc::new(Mutex::new(Sink {
            tail: Tail::new(TAIL_BYTES),
            log: Some(log),
            tee,
        })))
    }

    /// No output: of a QEMU that another program runs.
    pub(crate) fn none() -> Self {
        Self(Arc::new(Mutex::new(Sink {
            tail: Tail::new(0),
            log: None,
            tee: None,
        })))
    }

    /// The last 64 KiB.
    pub(crate) fn tail(&self) -> Vec<u8> {
        self.lock().tail.to_vec()
    }

    /// Nothing more will come: closes the log. Returns why the log is
    /// incomplete, if it is.
    pub(crate) fn close(&self) -> Option<String> {
        self.lock().log.take()?.write_error()
    }

    fn take(&self, bytes: &[u8]) {
        let mut sink = self.lock();
        sink.tail.push(bytes);
        if let Some(log) = &mut sink.log {
            log.write(bytes);
        }
        if let Some(tee) = &sink.tee {
            tee.push(bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sink> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OutputPipe {
    pub(crate) fn new(pipe: PipeReader, log: LogFile, tee: Option<Feed>) -> io::Result<Self> {
        sys::set_nonblocking(&pipe, true)?;
        Ok(Self {
            pipe: Arc::new(pipe),
            output: Output::new(log, tee),
        })
    }

    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    pub(crate) fn pipe(&self) -> Arc<PipeReader> {
        Arc::clone(&self.pipe)
    }

    /// Reads until the end of the output. Runs on the engine.
    pub(crate) async fn pump(self) {
        let read = engine::read(&*self.pipe, |bytes| {
            self.output.take(bytes);
            Ok::<(), io::Error>(())
        });
        if let Err(error) = read.await {
            engine::log(log::Level::Warn, module_path!(), || {
                format!("reading QEMU's output stops: {error}")
            });
        }
    }

    /// Reads what is there now, when QEMU has ended. Does not wait for other
    /// processes that have the pipe.
    pub(crate) fn drain(&self) {
        let mut buffer = [0; 4096];
        // A pipe holds 64 KiB. More than this now is not from QEMU.
        for _ in 0..64 {
            match io::Read::read(&mut &*self.pipe, &mut buffer) {
                Ok(0) => return,
                Ok(count) => self.output.take(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

/// The last bytes of a stream.
#[derive(Debug)]
pub(crate) struct Tail {
    bytes: VecDeque<u8>,
    limit: usize,
}

impl Tail {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            limit,
        }
    }

    /// Adds bytes. Returns how many of the oldest were dropped.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> usize {
        let kept = &bytes[bytes.len().saturating_sub(self.limit)..];
        let excess = (self.bytes.len() + kept.len()).saturating_sub(self.limit);
        self.bytes.drain(..excess);
        self.bytes.extend(kept);
        excess + (bytes.len() - kept.len())
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// The bytes after the first `skipped`, in the two pieces of memory: to
    /// join them would move all.
    pub(crate) fn pieces(&self, skipped: usize) -> [&[u8]; 2] {
        let (older, newer) = self.bytes.as_slices();
        let newer_skipped = skipped.saturating_sub(older.len()).min(newer.len());
        [&older[skipped.min(older.len())..], &newer[newer_skipped..]]
    }

    pub(crate) fn to_vec(&self) -> Vec<u8> {
        self.piece(0, self.bytes.len())
    }

    /// Up to `count` bytes after the first `skipped`.
    pub(crate) fn piece(&self, skipped: usize, count: usize) -> Vec<u8> {
        let begin = skipped.min(self.bytes.len());
        let end = begin.saturating_add(count).min(self.bytes.len());
        let (older, newer) = self.bytes.as_slices();
        let mut piece = Vec::with_capacity(end - begin);
        piece.extend_from_slice(&older[begin.min(older.len())..end.min(older.len())]);
        let newer_from = |index: usize| index.saturating_sub(older.len());
        piece.extend_from_slice(&newer[newer_from(begin)..newer_from(end)]);
        piece
    }

    /// The last `count` bytes, or all if there are fewer.
    pub(crate) fn last(&self, count: usize) -> Vec<u8> {
        self.piece(self.bytes.len().saturating_sub(count), count)
    }
}

/// A log that continues without its file after a write error.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    /// Stays open after a write error, for its lock.
    file: Written,
    failed: Option<io::Error>,
}

impl LogFile {
    /// Creates or truncates the file, or another one; see [`ClaimedFile`].
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let claimed = ClaimedFile::create(path)?;
        Ok(Self {
            path: claimed.path().to_owned(),
            file: Written::Claimed(claimed),
            failed: None,
        })
    }

    /// Uses a new file that is open for writing.
    pub(crate) fn new(path: &Path, file: File) -> Self {
        Self {
            path: path.to_owned(),
            file: Written::Private(file),
            failed: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_none()
            && let Err(error) = self.file.get().write_all(bytes)
        {
            engine::log(log::Level::Warn, module_path!(), || {
                format!("logging to {} stops: {error}", self.path.display())
            });
            self.failed = Some(error);
        }
    }

    pub(crate) fn write_error(&self) -> Option<String> {
        let error = self.failed.as_ref()?;
        Some(format!(
            "the log {} is incomplete: {error}",
            self.path.display()
        ))
    }
}

/// The file of a log.
#[derive(Debug)]
enum Written {
    Private(File),
    Claimed(ClaimedFile),
}

impl Written {
    fn get(&self) -> &File {
        match self {
            Self::Private(file) => file,
            Self::Claimed(claimed) => claimed.file(),
        }
    }
}

const TAIL_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_bytes_and_counts_the_others() {
        let mut tail = Tail::new(4);
        assert_eq!(tail.push(b"abc"), 0);
        assert_eq!(tail.push(b"de"), 1);
        assert_eq!(tail.to_vec(), b"bcde");
        assert_eq!(tail.push(b"0123456789"), 10);
        assert_eq!(tail.to_vec(), b"6789");
        assert_eq!(tail.last(2), b"89");
        // Wherever it is split in memory, and without extra capacity.
        for count in 0..=5 {
            tail.push(b"x");
            let all = tail.to_vec();
            for skipped in 0..=5 {
                let expected: Vec<u8> = all.iter().copied().skip(skipped).take(count).collect();
                let piece = tail.piece(skipped, count);
                assert_eq!((&piece, piece.capacity()), (&expected, expected.len()));
                assert_eq!(tail.pieces(skipped).concat(), tail.piece(skipped, 5));
            }
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_says_so_and_stops_nobody() {
        let mut log = LogFile::create(Path::new("/dev/full")).unwrap();
        assert_eq!(log.write_error(), None);
        log.write(b"x");
        log.write(b"y");
        assert!(
            log.write_error()
                .unwrap()
                .contains("/dev/full is incomplete"),
            "{:?}",
            log.write_error()
        );
    }
}
