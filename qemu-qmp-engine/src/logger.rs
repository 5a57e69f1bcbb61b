//! Passes records to the program's logger, on a separate thread.
//!
//! A logger is the user's code. It may panic, or wait for a lock whose owner waits
//! for the engine. So the engine never calls it. The thread starts with the first
//! record that the log level allows.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, TryLockError};

use log::Level;

/// Passes a record to the program's logger soon. Records are dropped while 1000 are
/// waiting.
pub fn log(level: Level, target: &'static str, message: impl FnOnce() -> String) {
    if level > log::max_level() {
        return;
    }
    if let Some(queue) = queue() {
        let _ = queue.try_send(Record {
            level,
            target,
            message: message(),
        });
    }
}

struct Record {
    level: Level,
    target: &'static str,
    message: String,
}

/// The queue to the logger's thread, which is started now if this process has
/// none.
fn queue() -> Option<SyncSender<Record>> {
    static QUEUE: Mutex<Option<(u32, SyncSender<Record>)>> = Mutex::new(None);
    let own = std::process::id();
    for _ in 0..TRIES {
        // Never blocks: in a forked process, the lock's owner may not exist.
        let mut current = match QUEUE.try_lock() {
            Ok(current) => current,
            Err(TryLockError::Poisoned(current)) => current.into_inner(),
            Err(TryLockError::WouldBlock) => {
                std::thread::yield_now();
                continue;
            }
        };
        if let Some((process, queue)) = &*current
            && *process == own
        {
            return Some(queue.clone());
        }
        let (queue, records) = sync_channel(QUEUE_RECORDS);
        let thread = std::thread::Builder::new().name("qemu-log".to_owned());
        thread.spawn(move || log_all(&records)).ok()?;
        // The parent process's queue is not dropped in this process.
        std::mem::forget(current.replace((own, queue.clone())));
        return Some(queue);
    }
    None
}

fn log_all(records: &Receiver<Record>) {
    for record in records {
        // A logger that panics may accept the next record.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| {
            log::log!(target: record.target, record.level, "{}", record.message);
        }));
    }
}

/// How many records wait for a slow logger.
const QUEUE_RECORDS: usize = 1000;

/// How often to try a lock that is held for a few instructions.
const TRIES: usize = 1000;
