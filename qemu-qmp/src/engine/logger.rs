//! Words to the program's logger.
//!
//! A logger is the user's code: it may panic, or wait for what somebody holds
//! who waits on the engine. So a thread of its own, started at the first word
//! that is wanted, speaks with it, and the engine never does.

use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use log::Level;

/// Has the program's logger told, soon. What comes while it does not take any
/// is dropped.
pub fn log(level: Level, target: &'static str, words: impl FnOnce() -> String) {
    static SPEAKER: OnceLock<Option<SyncSender<Word>>> = OnceLock::new();
    if level > log::max_level() {
        return;
    }
    let speaker = SPEAKER.get_or_init(|| {
        let (speaker, spoken) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("qemu-log".to_owned());
        thread.spawn(move || speak(&spoken)).ok().map(|_| speaker)
    });
    if let Some(speaker) = speaker {
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
