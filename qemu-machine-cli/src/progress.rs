//! A line on a terminal that says what a long wait is for, and since when.
//!
//! ```text
//! phase ----> Line (pure) <---- a write begins, ends
//!               |
//!            its thread: draws, erases, waits
//! ```
//!
//! One thread alone touches the terminal for it. Who writes anything else waits
//! until the line is gone, and it stays away until the write is over. Nobody
//! else waits for the thread: a terminal that is stopped (Ctrl-S) must not stop
//! a deadline.

mod line;

use std::fmt;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use line::Line;

use crate::output;

/// Begins to show phases, if a person sees standard error.
pub(crate) fn show() {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if !io::stderr().is_terminal() || is_dumb {
        return;
    }
    THREAD.get_or_init(|| {
        let thread = thread::Builder::new().name("progress".to_owned());
        // Without the thread, there is no line.
        thread.spawn(draw).is_ok()
    });
}

/// What is waited for, until this is dropped.
#[must_use]
pub(crate) struct Phase(());

/// Begins a phase.
pub(crate) fn phase(what: impl fmt::Display) -> Phase {
    if has_thread() {
        lock().begin(&what.to_string(), Instant::now());
        CHANGED.notify_all();
    }
    Phase(())
}

impl Drop for Phase {
    fn drop(&mut self) {
        lock().end();
        CHANGED.notify_all();
    }
}

/// Writes these bytes to the terminal, or to what may lead there, while the line
/// is away.
pub(crate) fn aside<T>(bytes: &[u8], to: Stream, write: impl FnOnce() -> T) -> T {
    if !has_thread() {
        return write();
    }
    let mut line = lock();
    line.writers += 1;
    drop(erased(line));
    let result = write();
    let mut line = lock();
    line.writers -= 1;
    line.has_seen(bytes, to == Stream::Output && leads_elsewhere());
    CHANGED.notify_all();
    result
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Output,
    Error,
}

/// Takes the line away, for good.
pub(crate) fn stop() {
    let mut line = lock();
    line.is_stopped = true;
    drop(erased(line));
}

/// Waits until the line is gone.
fn erased(mut line: MutexGuard<'_, Line>) -> MutexGuard<'_, Line> {
    CHANGED.notify_all();
    while line.is_shown {
        line = CHANGED.wait(line).unwrap_or_else(PoisonError::into_inner);
    }
    line
}

/// The thread: draws the line when it is due, and erases it when it is not.
fn draw() {
    let mut line = lock();
    loop {
        let now = Instant::now();
        let text = line.text(now).filter(|_| is_in_foreground());
        if let Some(text) = text {
            line.is_shown = true;
            drop(line);
            print(&text);
            line = lock();
        } else if line.is_shown {
            drop(line);
            print(line::ERASE);
            line = lock();
            line.is_shown = false;
            CHANGED.notify_all();
        }
        // What came during the printing is not waited for.
        let now = Instant::now();
        line = match line.next_change(now) {
            Some(Duration::ZERO) => line,
            None => CHANGED.wait(line).unwrap_or_else(PoisonError::into_inner),
            Some(time) => {
                let waited = CHANGED.wait_timeout(line, time);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

fn print(text: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}

/// Whether standard output is neither a terminal nor a file. Then another
/// program, such as `less` or `tee`, may write the bytes to our terminal.
fn leads_elsewhere() -> bool {
    !io::stdout().is_terminal() && !output::goes_to_file()
}

/// Whether the terminal is this job's. A shell's background jobs must not write
/// over its prompt.
fn is_in_foreground() -> bool {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    line::is_in_foreground(&stat)
}

fn has_thread() -> bool {
    THREAD.get() == Some(&true)
}

fn lock() -> MutexGuard<'static, Line> {
    LINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether the thread was started; empty if nobody asked for it.
static THREAD: OnceLock<bool> = OnceLock::new();

static LINE: Mutex<Line> = Mutex::new(Line::NEW);

/// The line, or what it is about, has changed.
static CHANGED: Condvar = Condvar::new();
