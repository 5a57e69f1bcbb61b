//! Whether the shell on a console is known to be at its prompt.
//!
//! It is, from the end of a command until a key is typed, the guest is reset or
//! paused, or a line is printed. The shell may have ended by itself, and a log-in
//! may follow. A paused guest may be replaced by a snapshot. Until then the shell
//! can be opened again without a question to the guest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::console::Console;

/// What a console remembers about its shell.
#[derive(Debug, Default)]
pub(in crate::console) struct KnownShell {
    /// How often something was typed.
    typed: AtomicU64,
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
        let position = self.lock().taken();
        let known = &self.shared.known_shell;
        let at_prompt = AtPrompt {
            typed,
            resets,
            stops: self.shared.observed.stops(),
            position,
        };
        *known
            .at_prompt
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(at_prompt);
    }

    /// How often something was typed on this console.
    pub(super) fn times_typed(&self) -> u64 {
        self.shared.known_shell.typed.load(Ordering::Relaxed)
    }

    /// Whether the shell is known to be at its prompt.
    pub(crate) fn has_shell_at_prompt(&self) -> bool {
        let known = &self.shared.known_shell;
        let at_prompt = known
            .at_prompt
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(at_prompt) = *at_prompt else {
            return false;
        };
        let buffer = self.lock();
        let (since, begin) = buffer.since(at_prompt.position, PROMPT_BYTES);
        at_prompt.typed == self.times_typed()
            && at_prompt.resets == self.shared.observed.resets()
            && at_prompt.stops == self.shared.observed.stops()
            && !buffer.has_ended()
            && begin == at_prompt.position
            && since.len() < PROMPT_BYTES
            && !since.contains(&b'\n')
    }

    /// Remembers that the shell was at its prompt when the guest was frozen.
    pub(crate) fn woke_with_shell_at_prompt(&self) {
        self.shell_is_at_prompt(self.times_typed(), self.shared.observed.resets());
    }
}

/// Longer than a prompt.
const PROMPT_BYTES: usize = 1024;
