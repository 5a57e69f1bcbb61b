//! Whether the shell on a console is known to be at its prompt.
//!
//! It is, from the end of a command until a key is typed, the guest is reset or
//! paused, or a line is printed. The shell may have ended by itself, and a log-in
//! may follow. A paused guest may be replaced by a snapshot. Until then the shell
//! can be opened again without a question to the guest.
//!
//! Busybox's shell asks its terminal at each prompt where the cursor is. If the
//! answer is not the first thing that is typed then, the shell sleeps for 20 ms
//! after the line. So the next line begins with the answer. If the shell has
//! asked before, that line waits for the question for a moment.

use std::future::IntoFuture;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::console::Console;

/// What a console remembers about its shell.
#[derive(Debug, Default)]
pub(in crate::console) struct KnownShell {
    /// How often something was typed.
    typed: AtomicU64,
    /// Whether it has asked for the cursor at its last prompt.
    asks: AtomicBool,
    at_prompt: Mutex<Option<AtPrompt>>,
}

/// The moment at which the shell was at its prompt, or just before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AtPrompt {
    typed: u64,
    resets: u64,
    stops: u64,
    /// The end of the last line before the prompt.
    position: u64,
    /// Whether the shell had asked for the cursor already.
    has_asked: bool,
}

impl KnownShell {
    /// Something will be typed.
    pub(in crate::console) fn types(&self) {
        self.typed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Console {
    /// Remembers that the shell has answered, and is at its prompt. `typed` is
    /// [`times_typed`](Self::times_typed) after the last line was typed for it.
    pub(super) fn shell_is_at_prompt(&self, typed: u64, resets: u64) {
        self.remember(typed, resets, false);
    }

    /// Remembers that the shell was at its prompt when the guest was frozen.
    pub(crate) fn woke_with_shell_at_prompt(&self, has_asked: bool) {
        let resets = self.shared.observed.resets();
        self.remember(self.times_typed(), resets, has_asked);
    }

    fn remember(&self, typed: u64, resets: u64, has_asked: bool) {
        let position = self.lock().taken();
        *self.at_prompt() = Some(AtPrompt {
            typed,
            resets,
            stops: self.shared.observed.stops(),
            position,
            has_asked,
        });
    }

    /// How often something was typed on this console.
    pub(super) fn times_typed(&self) -> u64 {
        self.shared.known_shell.typed.load(Ordering::Relaxed)
    }

    /// Whether the shell is known to be at its prompt.
    pub(crate) fn has_shell_at_prompt(&self) -> bool {
        let Some(at_prompt) = *self.at_prompt() else {
            return false;
        };
        at_prompt.stops == self.shared.observed.stops()
            && !self.lock().has_ended()
            && self.prompt_since(&at_prompt).is_some()
    }

    /// Whether the shell has asked for the cursor at its prompt, or had before
    /// the machine was paused or ended.
    pub(crate) fn has_shell_asked_for_cursor(&self) -> bool {
        let Some(at_prompt) = *self.at_prompt() else {
            return false;
        };
        self.prompt_since(&at_prompt).is_some_and(|prompt| {
            at_prompt.has_asked || prompt.ends_with(CURSOR_QUESTION.as_bytes())
        })
    }

    /// What the next line for the shell begins with.
    pub(super) async fn before_line(&self) -> &'static str {
        if !self.has_shell_at_prompt() {
            return "";
        }
        let asks = &self.shared.known_shell.asks;
        if asks.load(Ordering::Relaxed) && !self.has_shell_asked_for_cursor() {
            let question = self.expect(CURSOR_QUESTION).verbatim().timeout(None);
            let limit = Some(ASKS_WITHIN);
            let deadlines = &self.shared.deadlines;
            // Without a question there is nothing to answer.
            let _ = deadlines.timeout(limit, question.into_future()).await;
        }
        let has_asked = self.has_shell_at_prompt() && self.has_shell_asked_for_cursor();
        asks.store(has_asked, Ordering::Relaxed);
        if has_asked { CURSOR_ANSWER } else { "" }
    }

    /// What was printed since, if that can be a prompt.
    fn prompt_since(&self, at_prompt: &AtPrompt) -> Option<Vec<u8>> {
        let (since, begin) = self.lock().since(at_prompt.position, PROMPT_BYTES);
        let is_prompt = at_prompt.typed == self.times_typed()
            && at_prompt.resets == self.shared.observed.resets()
            && begin == at_prompt.position
            && since.len() < PROMPT_BYTES
            && !since.contains(&b'\n');
        is_prompt.then_some(since)
    }

    fn at_prompt(&self) -> MutexGuard<'_, Option<AtPrompt>> {
        let at_prompt = &self.shared.known_shell.at_prompt;
        at_prompt.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Longer than a prompt.
const PROMPT_BYTES: usize = 1024;

/// Asks a terminal for the place of its cursor.
const CURSOR_QUESTION: &str = "\x1b[6n";

/// The first column, so the shell corrects nothing. Then Ctrl-U: if another
/// program has asked, the shell may have taken a part of the answer as text.
const CURSOR_ANSWER: &str = "\x1b[1;1R\x15";

/// As long as the shell sleeps without an answer: to wait costs no more.
const ASKS_WITHIN: Duration = Duration::from_millis(20);
