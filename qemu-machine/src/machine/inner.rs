//! The state that all handles on one machine share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use qemu_qmp::Deadlines;
use qemu_qmp_engine::{Engine, Watched};
use tokio::sync::mpsc;

use super::migration::MigrationTurn;
use super::schema::MachineSchema;
use crate::display::Canvas;
use crate::input::Turns;
use crate::life::{ExitReport, Ladder, ObservedState, PausedForGood};
use crate::machine::freezable::Freezable;
use crate::output::Output;
use crate::process::Process;
use crate::spec::CommandLine;
use crate::supervise::{Request, Status};

/// Its drop ends the machine; see `drop`.
pub(crate) struct Inner {
    pub(crate) engine: &'static Engine,
    pub(crate) name: String,
    pub(crate) pid: u32,
    /// The supervisor owns it until the end is reported.
    pub(crate) process: Weak<Process>,
    pub(crate) command_line: CommandLine,
    /// Whether a wrapper is before the binary.
    pub(crate) is_wrapped: bool,
    /// What a freeze needs; `None` if the guest cannot be frozen.
    pub(crate) freezable: Option<Arc<Freezable>>,
    /// Whether disks of the guest are overlays in the private directory.
    pub(crate) has_private_disks: bool,
    /// Whether the guest's shell has the functions that wake a clone.
    pub(crate) is_prepared: AtomicBool,
    pub(crate) schema: MachineSchema,
    pub(crate) turns: Turns,
    pub(crate) migration_turn: MigrationTurn,
    pub(crate) canvas: Arc<Canvas>,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) log: PathBuf,
    pub(crate) transcript: Option<PathBuf>,
    pub(crate) output: Output,
    pub(crate) requests: mpsc::UnboundedSender<Request>,
    pub(crate) status: Arc<Watched<Status>>,
    pub(crate) deadlines: Deadlines,
    pub(crate) observed: ObservedState,
    pub(crate) quit_timeout: Option<Duration>,
    pub(crate) terminate_timeout: Duration,
    /// Whether a caller got the report of the end.
    pub(crate) is_reported: AtomicBool,
    /// Whether no caller ever got the machine. Then the drop does not wait for
    /// the end.
    pub(crate) is_unwanted: AtomicBool,
}

impl Inner {
    pub(crate) fn request(&self, request: Request) {
        // It fails only if the machine has ended.
        let _ = self.requests.send(request);
    }

    pub(crate) fn report(&self) -> Option<Arc<ExitReport>> {
        self.status.look(|status| match status {
            Status::Ended(report) => Some(Arc::clone(report)),
            _ => None,
        })
    }

    /// Waits for the end of the machine.
    pub(crate) async fn ended(&self) -> Arc<ExitReport> {
        let ended = |status: &Status| match status {
            Status::Ended(report) => Some(Arc::clone(report)),
            _ => None,
        };
        self.status.until(ended).await
    }

    /// Waits for the end of the machine, or until the guest is paused for good.
    pub(super) async fn ended_or_paused(&self) -> Result<Arc<ExitReport>, PausedForGood> {
        let either = |status: &Status| match status {
            Status::Ended(report) => Some(Ok(Arc::clone(report))),
            // The monitor may already have reported that the guest runs again.
            Status::PausedForGood(_) => self.observed.paused_for_good().map(Err),
            _ => None,
        };
        self.status.until(either).await
    }

    /// Waits for the end of the machine; `None` if the killed process does not
    /// end.
    pub(crate) async fn settled(&self) -> Option<Arc<ExitReport>> {
        let settled = |status: &Status| match status {
            Status::Ended(report) => Some(Some(Arc::clone(report))),
            Status::Unkillable => Some(None),
            _ => None,
        };
        self.status.until(settled).await
    }

    /// Kills the machine. The drop of its last handle does not wait for the
    /// end.
    pub(crate) fn end_in_background(&self) {
        if !self.engine.is_of_this_process() {
            return;
        }
        self.is_unwanted.store(true, Ordering::Relaxed);
        self.request(Request::End(Ladder::kill()));
    }
}
