//! Words to the program's logger.
//!
//! A logger is the user's code: it may panic, or wait for what somebody holds
//! who waits on the engine. So a thread of its own, started at the first word
//! that is wanted, speaks with it, and the engine never does.

use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, TryLockError};

use log::Level;

/// Has the program's logger told, soon. What comes while it does not take any
/// is dropped.
pub fn log(level: Level, target: &'static str, words: impl FnOnce() -> String) {
    if level > log::max_level() {
        return;
    }
    if let Some(speaker) = speaker() {
        let _ = speaker.try_send(Word {
            level,
            target,
            words: words(),
        });
    }
}

struct Word {
    level: Level,
    target: &'static str,
    words: String,
}

/// Who speaks with the logger, started now if nobody does in this process.
fn speaker() -> Option<SyncSender<Word>> {
    static SPEAKER: Mutex<Option<(u32, SyncSender<Word>)>> = Mutex::new(None);
    let own = std::process::id();
    for _ in 0..TRIES {
        // Never waited for: in a fork, whoever holds it may not exist.
        let mut held = match SPEAKER.try_lock() {
            Ok(held) => held,
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => {
                std::thread::yield_now();
                continue;
            }
        };
        if let Some((process, speaker)) = &*held
            && *process == own
        {
            return Some(speaker.clone());
        }
        let (speaker, spoken) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("qemu-log".to_owned());
        thread.spawn(move || speak(&spoken)).ok()?;
        // That of the process that forked this one is left as it is.
        std::mem::forget(held.replace((own, speaker.clone())));
        return Some(speaker);
    }
    None
}

fn speak(spoken: &Receiver<Word>) {
    for word in spoken {
        // One that panics may do better with the next.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| {
            log::log!(target: word.target, word.level, "{}", word.words);
        }));
    }
}

/// How many words wait for a logger that does not take them.
const WAITING: usize = 1000;

/// How often a lock is looked at that is held for some instructions.
const TRIES: usize = 1000;
