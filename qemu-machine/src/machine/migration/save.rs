//! A guest that is saved to a file.

use qemu_qmp_engine::{operation, timeout_option};
use std::path::{Path, PathBuf};
use std::time::Duration;

use qemu_qmp::{Client, MigrationReport};

use super::file::SavedFile;
use super::operation::{self, GivenUp};
use super::source::Source;
use super::{MigrationTurn, MoveError, live, mark};
use crate::Machine;

/// Saves a guest to a file; made by [`Machine::save_to`].
///
/// # Errors
/// [`MoveError`]; the guest goes on as it was. If the deadline has passed, up to
/// 5 s more are given to QEMU to cancel the migration.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the save is given up, and the
/// guest goes on as it was when QEMU has cancelled it.
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

    /// Lets the guest run while most of its memory is saved. It is paused for the
    /// rest, and stays so. QEMU saves what the guest writes in between again, so
    /// a guest that writes faster than QEMU does is saved never, and the file has
    /// no bound but the deadline.
    ///
    /// Fails with [`MoveError::NotLive`] for a QEMU before 9.0 that does not use
    /// KVM: there the guest would be broken at the load.
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
