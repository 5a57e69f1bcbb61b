//! What a shell is busy with: at most one task at a time.
//!
//! ```text
//! Free --begin--> Busy --finish--> Free
//!                 Busy --take over--> Busy (the earlier task no longer counts)
//! ```
//!
//! Never free again before a task has finished: after a deadline or a drop, the
//! guest may still be at the task.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The slot, shared by a shell and its operations.
#[derive(Debug, Clone, Default)]
pub(super) struct TaskSlot(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// How many tasks have begun.
    begun: u64,
    /// The task that has begun and has not finished.
    task: Option<String>,
}

/// A task's place in the slot. Dropped without [`finish`](Self::finish), it
/// leaves the slot busy.
#[derive(Debug)]
pub(super) struct Claim {
    slot: TaskSlot,
    number: u64,
}

impl TaskSlot {
    /// Begins a task, or returns the earlier task if that has not finished.
    pub(super) fn begin(&self, task: &str) -> Result<Claim, String> {
        let mut state = self.lock();
        match &state.task {
            Some(earlier) => Err(earlier.clone()),
            None => Ok(self.claim(&mut state, task)),
        }
    }

    /// Begins a task in place of an earlier one. If it does not finish either,
    /// the slot still names the earlier one.
    pub(super) fn take_over(&self, task: &str) -> Claim {
        self.claim(&mut self.lock(), task)
    }

    fn claim(&self, state: &mut State, task: &str) -> Claim {
        state.begun += 1;
        state.task.get_or_insert_with(|| task.to_owned());
        Claim {
            slot: self.clone(),
            number: state.begun,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Frees the slot, unless another task has taken it over.
    pub(super) fn finish(self) {
        let mut state = self.slot.lock();
        if state.begun == self.number {
            state.task = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_again_only_by_the_finish_of_its_last_task() {
        let slot = TaskSlot::default();
        slot.begin("one").unwrap().finish();
        let two = slot.begin("two").unwrap();
        assert_eq!(slot.begin("three").unwrap_err(), "two");
        let recovery = slot.take_over("answer");
        two.finish();
        assert_eq!(slot.begin("four").unwrap_err(), "two");
        recovery.finish();
        drop(slot.begin("five").unwrap());
        assert_eq!(slot.begin("six").unwrap_err(), "five");
    }
}
