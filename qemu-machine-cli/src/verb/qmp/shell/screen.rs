//! Whose turn it is to write to a person's terminal.
//!
//! The editor's printer draws the line again after a text, but only while the
//! editor has the terminal. Otherwise it writes the text as it is. So a text that
//! is written while the editor begins can come after the prompt, which would then
//! not be drawn again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lets texts be shown where they break no line.
#[derive(Debug)]
pub(super) struct Screen {
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Commands are executed, and their results are shown.
    Commands,
    /// The editor begins or ends. Texts wait.
    Changing,
    /// The editor shows its line.
    Editor,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            turn: Mutex::new(Turn::Commands),
            changed: Condvar::new(),
        }
    }

    /// Waits for a text that is being written between two lines.
    pub(super) fn set(&self, turn: Turn) {
        *self.lock() = turn;
        self.changed.notify_all();
    }

    /// Has a text printed. It waits while the editor begins or ends.
    pub(super) fn show(&self, print: impl FnOnce()) {
        let is_changing = |turn: &mut Turn| *turn == Turn::Changing;
        let turn = self.changed.wait_while(self.lock(), is_changing);
        let turn = turn.unwrap_or_else(PoisonError::into_inner);
        if *turn == Turn::Editor {
            // The printer waits for the editor, which must be able to end.
            drop(turn);
            print();
        } else {
            print();
            drop(turn);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    #[test]
    fn the_editor_does_not_begin_while_a_text_is_written() {
        let screen = Screen::new();
        let is_kept = |wanted| screen.show(|| assert_eq!(screen.turn.try_lock().is_err(), wanted));
        is_kept(true);
        screen.set(Turn::Editor);
        // Its printer can wait for it, so it must not wait for the printer.
        is_kept(false);
    }

    #[test]
    fn a_text_waits_while_the_editor_begins_or_ends() {
        for next in [Turn::Editor, Turn::Commands] {
            let screen = Screen::new();
            screen.set(Turn::Changing);
            let (begins, begun) = mpsc::channel();
            let written = Mutex::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    begins.send(()).unwrap();
                    screen.show(|| *written.lock().unwrap() = true);
                });
                begun.recv().unwrap();
                // A text that does not wait has some time to be written.
                for _ in 0..1000 {
                    thread::yield_now();
                    assert!(!*written.lock().unwrap());
                }
                screen.set(next);
            });
            assert!(*written.lock().unwrap());
        }
    }
}
