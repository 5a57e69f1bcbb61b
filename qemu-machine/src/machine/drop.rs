//! The drop of a machine's last handle, which ends the machine within 5 s.
//!
//! Never counts on the engine: where that has no turn, by an overload or by a
//! waker that it cannot get away from, the dropping thread tells the time
//! itself, kills the process, and takes its exit status. The supervisor finds
//! that done, and does the rest when it can.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use qemu_qmp_engine as engine;

use crate::life::ExitCause;
use crate::life::{Ladder, Rung};
use crate::machine::Inner;
use crate::supervise::Request;

impl Drop for Inner {
    fn drop(&mut self) {
        // The copy that a fork made must leave the parent's machine be.
        if !self.engine.is_of_this_process() {
            return;
        }
        let how = self.end();
        // Nobody else will say so.
        if self.is_reported.load(Ordering::Relaxed) || self.is_unwanted.load(Ordering::Relaxed) {
            return;
        }
        match self.report() {
            Some(report) => {
                let by_kill = report.cause == ExitCause::Requested(Rung::Kill);
                let killed = by_kill && matches!(how, DropEnd::Killed);
                if killed || report.was_forced() || report.is_failure() {
                    self.warn(&report.to_string());
                }
            }
            None if matches!(how, DropEnd::Killed) => self.warn(&format!(
                "machine '{}' was killed when its last handle was dropped, and the end of \
                 process {} was not told in 5 s",
                self.name, self.pid
            )),
            None => {}
        }
    }
}

/// What the drop of the last handle has done.
enum DropEnd {
    /// Asked for the end, if there was any need.
    Asked,
    /// Killed it, as it had not ended in time.
    Killed,
}

impl Inner {
    /// Ends the machine, and waits for it where it may.
    fn end(&self) -> DropEnd {
        if self.report().is_some() {
            return DropEnd::Asked;
        }
        let begun = Instant::now();
        let softly = [Rung::Quit, Rung::Terminate]
            .into_iter()
            .zip([2, 1])
            .map(|(rung, seconds)| (rung, Some(Duration::from_secs(seconds))));
        self.request(Request::End(Ladder::new(softly)));
        // The engine must not wait for itself: there, a launch was given up.
        if self.engine.is_current_thread() || self.is_unwanted.load(Ordering::Relaxed) {
            return DropEnd::Asked;
        }
        if engine::wait_at_most(BEFORE_KILL, self.settled()).is_some() {
            return DropEnd::Asked;
        }
        // The engine is late, or an end that somebody asked for before takes
        // its time.
        self.request(Request::End(Ladder::kill()));
        if let Some(process) = self.process.upgrade() {
            process.kill_unsupervised(self.deadlines.now());
        }
        if engine::wait_at_most(AFTER_KILL, self.settled()).is_none()
            && let Some(process) = self.process.upgrade()
            && process.has_ended()
        {
            process.end_by(Instant::now() + FOR_SURVIVORS);
            // The supervisor does the rest, now or when it has a turn again.
            engine::wait_at_most(LIMIT.saturating_sub(begun.elapsed()), self.settled());
        }
        DropEnd::Killed
    }

    /// In the thread that dropped the machine, for a logger is its program's
    /// own.
    fn warn(&self, what: &str) {
        let words = || format!("{what}\n  command line: {}", self.command_line);
        if self.engine.is_current_thread() {
            engine::log(log::Level::Warn, module_path!(), words);
        } else {
            engine::wake(|| log::warn!("{}", words()));
        }
    }
}

/// How long the drop waits before it kills by itself: half a second longer
/// than the supervisor, if that has its turns.
const BEFORE_KILL: Duration = Duration::from_millis(3500);

/// And after that.
const AFTER_KILL: Duration = Duration::from_secs(1);

/// How long the whole drop takes at most.
const LIMIT: Duration = Duration::from_secs(5);

/// And for what the process left behind.
const FOR_SURVIVORS: Duration = Duration::from_millis(500);
