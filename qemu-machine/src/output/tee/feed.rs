//! The thread that writes the bytes of one source to one writer.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use qemu_qmp_engine::{self as engine, oneshot};

use super::SharedWriter;
use super::lines::Lines;
use super::queue::{Item, Queue};

/// The end for the engine, which puts bytes into it. Clones share it. When the
/// last one is dropped, the thread writes the rest and ends.
#[derive(Debug, Clone)]
pub(crate) struct Feed(Arc<FeedEnd>);

#[derive(Debug)]
struct FeedEnd(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The name of the source in messages.
    source: String,
    state: Mutex<State>,
    /// Notified when there is more to write, or will be no more.
    more: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue,
    is_closed: bool,
    /// Nothing waits for the rest any more.
    is_given_up: bool,
    dropped_bytes: u64,
    progress: Progress,
    /// The thread, and a notice of its end.
    thread: Option<(JoinHandle<()>, oneshot::Receiver<()>)>,
}

#[derive(Debug)]
enum Progress {
    Writing,
    /// All was written and flushed.
    Done,
    Failed(String),
}

impl Feed {
    /// Starts the thread.
    pub(super) fn begin(
        source: String,
        writer: SharedWriter,
        lines: Option<Lines>,
    ) -> io::Result<Self> {
        let (ending, ended) = oneshot::channel();
        let shared = Arc::new(Shared {
            source,
            state: Mutex::new(State {
                queue: Queue::new(WAITING_LIMIT_BYTES),
                is_closed: false,
                is_given_up: false,
                dropped_bytes: 0,
                progress: Progress::Writing,
                thread: None,
            }),
            more: Condvar::new(),
        });
        let feeder = Feeder {
            shared: Arc::clone(&shared),
            lines,
        };
        let thread = thread::Builder::new().name("qemu-tee".to_owned());
        let thread = thread.spawn(move || {
            feeder.run(&writer);
            // Its drop is also code of the caller.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(writer)));
            // The receiver may be gone.
            let _ = ending.send(());
        })?;
        shared.lock().thread = Some((thread, ended));
        Ok(Self(Arc::new(FeedEnd(shared))))
    }

    /// Queues these bytes. Never waits.
    pub(crate) fn push(&self, bytes: &[u8]) {
        let shared = &self.0.0;
        let mut state = shared.lock();
        if !state.is_closed && matches!(state.progress, Progress::Writing) {
            state.queue.push(bytes);
            shared.more.notify_one();
        }
    }

    /// Why not everything was written, at the end.
    fn write_error(&self) -> Option<String> {
        let Shared { source, state, .. } = &*self.0.0;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let why = match &state.progress {
            Progress::Failed(why) => why.clone(),
            Progress::Writing => format!("its writer took longer than {FLUSH_LIMIT:?} at the end"),
            Progress::Done if state.dropped_bytes > 0 => {
                let dropped = state.dropped_bytes;
                format!("its writer was too slow, so {dropped} bytes were dropped")
            }
            Progress::Done => return None,
        };
        Some(format!("the tee of {source} is incomplete: {why}"))
    }
}

/// Ends these feeds: writes and flushes the rest, within the limit. Returns
/// what was not written, and why. Runs on the engine.
pub(crate) async fn finish(feeds: Vec<Feed>) -> Vec<String> {
    for feed in &feeds {
        feed.0.close();
    }
    let all_ended = async {
        for feed in &feeds {
            let thread = feed.0.0.lock().thread.take();
            if let Some((thread, ended)) = thread {
                // The thread has nothing more to do, and ends at once. So
                // nothing of it is left after the join.
                let _ = ended.await;
                let _ = thread.join();
            }
        }
    };
    // A feed that has not ended by then reports that.
    let _ = engine::timeout(Some(FLUSH_LIMIT), all_ended).await;
    for feed in &feeds {
        feed.0.0.lock().is_given_up = true;
    }
    feeds.iter().filter_map(Feed::write_error).collect()
}

impl FeedEnd {
    fn close(&self) {
        self.0.lock().is_closed = true;
        self.0.more.notify_one();
    }
}

impl Drop for FeedEnd {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next item to write; `None` at the end.
    fn next(&self) -> Option<Item> {
        let mut state = self.lock();
        loop {
            match state.queue.take() {
                Some(Item::Dropped(count)) => {
                    state.dropped_bytes += count;
                    return Some(Item::Dropped(count));
                }
                Some(item) => return Some(item),
                None if state.is_closed => return None,
                None => {
                    let more = self.more.wait(state);
                    state = more.unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

/// The work of the thread.
struct Feeder {
    shared: Arc<Shared>,
    lines: Option<Lines>,
}

impl Feeder {
    fn run(mut self, writer: &SharedWriter) {
        let written = catch_unwind(AssertUnwindSafe(|| self.write_all(writer)));
        let why = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(format!("its writer failed: {error}")),
            Err(_) => Some("its writer panicked".to_owned()),
        };
        if let Some(why) = &why {
            let source = &self.shared.source;
            engine::log(log::Level::Warn, module_path!(), || {
                format!("the tee of {source} stops: {why}")
            });
        }
        let mut state = self.shared.lock();
        state.queue.clear();
        state.progress = why.map_or(Progress::Done, Progress::Failed);
    }

    fn write_all(&mut self, writer: &SharedWriter) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let write = |writer: &mut dyn Write, bytes: &[u8]| {
            write(writer, bytes, &|| shared.lock().is_given_up)
        };
        while let Some(item) = self.shared.next() {
            // Another writer may have panicked; this one may work.
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let mut each = |bytes: &[u8]| write(&mut *writer, bytes);
            match (&item, &mut self.lines) {
                (Item::Bytes(bytes), None) => each(bytes)?,
                (Item::Bytes(bytes), Some(lines)) => lines.push(bytes, &mut each)?,
                (Item::Dropped(count), None) => {
                    each(format!("\r\n{}\r\n", dropped(*count)).as_bytes())?;
                }
                (Item::Dropped(count), Some(lines)) => {
                    lines.end(&mut each)?;
                    lines.push(format!("{}\n", dropped(*count)).as_bytes(), &mut each)?;
                }
            }
            writer.flush()?;
            if let Item::Bytes(bytes) = item {
                self.shared.lock().queue.written(bytes.len());
            }
        }
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = &mut self.lines {
            lines.end(&mut |bytes| write(&mut *writer, bytes))?;
        }
        writer.flush()
    }
}

fn dropped(count: u64) -> String {
    format!("[{count} bytes were dropped: the writer is too slow]")
}

/// Writes all. A writer may be in non-blocking mode, as standard error
/// sometimes is. Its `WouldBlock` error does not say when it is writable, so
/// this tries again after a pause, until it is given up.
fn write(
    writer: &mut dyn Write,
    mut bytes: &[u8],
    is_given_up: &dyn Fn() -> bool,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match writer.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !is_given_up() => {
                thread::sleep(FULL_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The limit of bytes that wait for a writer.
const WAITING_LIMIT_BYTES: usize = 1 << 20;

/// How long a writer may take for the rest, at the end of the machine.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

const FULL_PAUSE: Duration = Duration::from_millis(10);
