//! Collects the warnings that the library logs.

use std::sync::{Mutex, PoisonError};

struct Notes;

static NOTED: Mutex<Vec<String>> = Mutex::new(Vec::new());

impl log::Log for Notes {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn
    }

    fn log(&self, record: &log::Record<'_>) {
        let mut noted = NOTED.lock().unwrap_or_else(PoisonError::into_inner);
        noted.push(record.args().to_string());
    }

    fn flush(&self) {}
}

/// Collects every warning from now on.
pub fn note() {
    log::set_logger(&Notes).unwrap();
    log::set_max_level(log::LevelFilter::Warn);
}

/// The warnings with these words since the last call.
pub fn taken(words: &str) -> Vec<String> {
    let noted = std::mem::take(&mut *NOTED.lock().unwrap_or_else(PoisonError::into_inner));
    noted.into_iter().filter(|it| it.contains(words)).collect()
}
