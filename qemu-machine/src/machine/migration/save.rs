//! Saves a guest to a file.

use qemu_qmp_engine::{operation, timeout_option};
use std::path::{Path, PathBuf};
use std::time::Duration;

use qemu_qmp::Client;
use qemu_qmp::client::MigrationReport;

use super::file::SavedFile;
use super::operation::{self, GivenUp};
use super::source::Source;
use super::{MigrationTurn, MoveError, live, mark};
use crate::Machine;

/// Saves a guest to a file; made by [`Machine::save_to`].
///
/// # Errors
/// [`MoveError`]; the guest resumes its earlier state. After the deadline, the
/// operation waits up to 5 s more until QEMU has cancelled the migration.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the save is cancelled. The
/// guest resumes its earlier state when QEMU has cancelled the migration.
#[derive(Debug)]
#[must_use = "nothing is saved until awaited or waited for"]
pub struct Save {
    machine: Machine,
    path: PathBuf,
    live: bool,
    timeout: Option<Duration>,
}

impl Save {
    pub(super) fn new(machine: &Machine, path: &Path) -> Self {
        Self {
            machine: machine.clone(),
            path: path.to_owned(),
            live: false,
            timeout: machine.deadlines().limit(),
        }
    }

    /// Lets the guest run while most of its memory is saved. It is paused for
    /// the rest, and stays paused. QEMU saves again what the guest writes
    /// during the save. So if the guest writes faster than QEMU, the save never
    /// completes, and only the deadline limits the file.
    ///
    /// Fails with [`MoveError::NotLive`] on QEMU before 9.0 without KVM: the
    /// saved guest would be broken.
    pub fn live(mut self) -> Self {
        self.live = true;
        self
    }
}

timeout_option!(Save, timeout);

operation!(Save => Result<MigrationReport, MoveError>);

impl Save {
    async fn run(self) -> Result<MigrationReport, MoveError> {
        let Self {
            machine,
            path,
            live,
            timeout,
        } = self;
        MoveError::check_disks(&machine)?;
        let file = SavedFile::create(machine.name(), path)?;
        let qmp = machine.monitor().clone();
        let name = machine.name().to_owned();
        let turn = machine.inner.migration_turn.clone();
        let save = |given_up| save(given_up, turn, qmp, name, file, live);
        operation::run(&machine, "save its guest", timeout, save).await
    }
}

async fn save(
    given_up: GivenUp,
    turn: MigrationTurn,
    qmp: Client,
    name: String,
    file: SavedFile,
    live: bool,
) -> Result<Option<MigrationReport>, MoveError> {
    let Some(_turn) = given_up.or(turn.lock()).await else {
        return Ok(None);
    };
    if live {
        live::check(&qmp, &name).await?;
    }
    let source = Source::pause(&qmp, live).await?;
    let saved = given_up.or(write(&qmp, &file, source.ran())).await;
    let saved = saved.transpose();
    if !matches!(saved, Ok(Some(_))) {
        if !matches!(&saved, Err(error) if error.is_refusal()) {
            source.cancel().await;
        }
        source.resume().await;
    }
    saved
}

async fn write(qmp: &Client, file: &SavedFile, ran: bool) -> Result<MigrationReport, MoveError> {
    file.empty()?;
    let report = qmp.migrate_over(file.for_qemu()?).timeout(None).await?;
    mark::write(&file.file, ran).map_err(|cause| file.error(cause))?;
    Ok(report)
}
