//! Loads a guest from a file.

use qemu_qmp_engine::{operation, timeout_option};
use std::path::{Path, PathBuf};
use std::time::Duration;

use qemu_qmp::Client;
use qemu_qmp::client::MigrationReport;
use qemu_qmp::command::{Cont, QueryStatus, Stop};

use super::file::SavedFile;
use super::{MoveError, mark, operation};
use crate::Machine;

/// Loads a guest from a file; made by [`Machine::load_from`].
///
/// # Errors
/// [`MoveError`].
///
/// # Cancel safety
/// If the future is dropped after it was polled, or the deadline has passed,
/// the load continues to its end: QEMU cannot cancel it.
#[derive(Debug)]
#[must_use = "nothing is loaded until awaited or waited for"]
pub struct Load {
    machine: Machine,
    path: PathBuf,
    paused: bool,
    timeout: Option<Duration>,
}

impl Load {
    pub(super) fn new(machine: &Machine, path: &Path) -> Self {
        Self {
            machine: machine.clone(),
            path: path.to_owned(),
            paused: false,
            timeout: machine.deadlines().limit(),
        }
    }

    /// Leaves the guest paused, even if it ran when it was saved; `cont`
    /// resumes it.
    pub fn paused(mut self) -> Self {
        self.paused = true;
        self
    }
}

timeout_option!(Load, timeout);

operation!(Load => Result<MigrationReport, MoveError>);

impl Load {
    async fn run(self) -> Result<MigrationReport, MoveError> {
        let Self {
            machine,
            path,
            paused,
            timeout,
        } = self;
        let file = SavedFile::open(machine.name(), path)?;
        let qmp = machine.monitor().clone();
        let load = |_| async move { load(&qmp, &file, paused).await.map(Some) };
        operation::run(&machine, "load a guest", timeout, load).await
    }
}

async fn load(qmp: &Client, file: &SavedFile, paused: bool) -> Result<MigrationReport, MoveError> {
    let ran = mark::read(&file.file);
    if paused && qmp.execute(QueryStatus).timeout(None).await?.status == "inmigrate" {
        // A QEMU that waits for a guest applies this to the guest.
        qmp.execute(Stop).timeout(None).await?;
    }
    let incoming = qmp
        .migrate_incoming_over(file.for_qemu()?)
        .timeout(None)
        .await?;
    let report = incoming.wait_for_completion().timeout(None).await?;
    if ran == Some(true) && !paused {
        qmp.execute(Cont).timeout(None).await?;
    }
    Ok(report)
}
