//! The drop of the last handle, which ends the machine within 5 s.
//!
//! Never depends on the engine, which may be overloaded or blocked by a waker.
//! Then the dropping thread measures the time, kills the process, and takes its
//! exit status. The supervisor finds that done, and does the rest when it runs.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use qemu_qmp_engine as engine;

use crate::life::ExitCause;
use crate::life::{Ladder, Rung};
use crate::machine::Inner;
use crate::supervise::Request;

impl Drop for Inner {
    fn drop(&mut self) {
        // The copy in a fork must not end the machine of the parent.
        if !self.engine.is_of_this_process() {
            return;
        }
        let how = self.end();
        // Nothing else reports it.
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
                "machine '{}': killed when its last handle was dropped; process {} did not end \
                 within 5 s",
                self.name, self.pid
            )),
            None => {}
        }
    }
}

/// What the drop of the last handle did.
enum DropEnd {
    /// Requested the end, if the machine still ran.
    Asked,
    /// Killed the machine, because it did not end in time.
    Killed,
}

impl Inner {
    /// Ends the machine, and waits for the end if it can.
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
        // The engine must not wait for itself: in its thread, a launch was
        // dropped.
        if self.engine.is_current_thread() || self.is_unwanted.load(Ordering::Relaxed) {
            return DropEnd::Asked;
        }
        if engine::wait_at_most(BEFORE_KILL, self.settled()).is_some() {
            return DropEnd::Asked;
        }
        // The engine is late, or an end that a caller requested before takes
        // long.
        self.request(Request::End(Ladder::kill()));
        if let Some(process) = self.process.upgrade() {
            process.kill_unsupervised(self.deadlines.now());
        }
        if engine::wait_at_most(AFTER_KILL, self.settled()).is_none()
            && let Some(process) = self.process.upgrade()
            && process.has_ended()
        {
            process.end_by(Instant::now() + FOR_SURVIVORS);
            // The supervisor does the rest, now or when it runs again.
            engine::wait_at_most(LIMIT.saturating_sub(begun.elapsed()), self.settled());
        }
        DropEnd::Killed
    }

    /// Logs in the thread that dropped the machine, because the logger belongs
    /// to the program.
    fn warn(&self, what: &str) {
        let words = || format!("{what}\n  command line: {}", self.command_line);
        if self.engine.is_current_thread() {
            engine::log(log::Level::Warn, module_path!(), words);
        } else {
            engine::wake(|| log::warn!("{}", words()));
        }
    }
}

/// How long the drop waits before it kills: half a second longer than the
/// supervisor needs.
const BEFORE_KILL: Duration = Duration::from_millis(3500);

/// How long it waits after that.
const AFTER_KILL: Duration = Duration::from_secs(1);

/// The limit of the whole drop.
const LIMIT: Duration = Duration::from_secs(5);

/// How long it waits for processes that were left behind.
const FOR_SURVIVORS: Duration = Duration::from_millis(500);
