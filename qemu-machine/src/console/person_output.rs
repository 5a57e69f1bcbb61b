//! The output to a person's terminal, which is restored at the end.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qemu_qmp_engine as engine;

use super::restore::{self, Change};
use super::terminal::Line;
use super::terminal_modes::TerminalModes;
use crate::sys;

/// Writes to a terminal, and tracks which of its modes the output changes.
#[derive(Debug)]
pub(super) struct PersonOutput {
    line: Line,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    modes: TerminalModes,
    /// The bytes that undo the changes and are not written yet. Once it is set,
    /// nothing else is written.
    undo: Option<Vec<u8>>,
}

impl PersonOutput {
    /// The terminal is restored when the [`Change`] is dropped, or when this
    /// process exits by itself.
    pub(super) fn new(line: Line) -> (Arc<Self>, Change) {
        let output = Arc::new(Self {
            line,
            state: Mutex::default(),
        });
        let change = restore::terminal_modes(Arc::clone(&output));
        (output, change)
    }

    /// Writes all bytes. Runs on the engine.
    pub(super) async fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_some(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if is_passing(&error) => self.line.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes a byte that changes no mode, if it fits now.
    pub(super) fn offer(&self, byte: u8) {
        // A full terminal has no reader for it.
        let _ = self.write_some(&[byte]);
    }

    /// Undoes the changes, if the terminal takes that in time. Nothing is written
    /// afterwards. Runs on the engine.
    pub(super) async fn restore(&self) {
        let restored = async {
            loop {
                let Some(error) = self.undo_some(&mut self.lock()) else {
                    return;
                };
                if !is_passing(&error) || self.line.writable().await.is_err() {
                    return;
                }
            }
        };
        // A full terminal has no reader for it.
        let _ = engine::timeout(Some(RESTORE_LIMIT), restored).await;
    }

    /// Does the same as [`restore`](Self::restore) on any thread, with a shorter
    /// limit.
    pub(super) fn restore_now(&self) {
        let deadline = Instant::now() + RESTORE_NOW_LIMIT;
        for _ in 0..LOCK_TRIES {
            // At the exit, the lock's thread may never go on.
            let Ok(mut state) = self.state.try_lock() else {
                std::thread::yield_now();
                continue;
            };
            while let Some(error) = self.undo_some(&mut state) {
                let left = deadline.saturating_duration_since(Instant::now());
                if !is_passing(&error) || !sys::wait_writable(&self.line, left) {
                    return;
                }
            }
            return;
        }
    }

    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        // Locked for the write, so that no written byte is missed by the undo.
        let mut state = self.lock();
        if state.undo.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = self.line.write_some(bytes)?;
        state.modes.take(&bytes[..count]);
        Ok(count)
    }

    /// Why some changes are not undone yet; `None` once all are.
    fn undo_some(&self, state: &mut State) -> Option<io::Error> {
        let State { modes, undo } = state;
        let undo = undo.get_or_insert_with(|| modes.undo());
        while !undo.is_empty() {
            match self.line.write_some(undo) {
                Ok(count) => drop(undo.drain(..count)),
                Err(error) => return Some(error),
            }
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// How long a terminal may take the bytes that undo its modes.
const RESTORE_LIMIT: Duration = Duration::from_secs(1);

/// The same on a thread that has other work.
const RESTORE_NOW_LIMIT: Duration = Duration::from_millis(200);

/// How often a lock is tried that is only locked for one write.
const LOCK_TRIES: usize = 1000;
