//! Moves a guest to another machine.

use qemu_qmp_engine::{operation, timeout_option};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use qemu_qmp::client::{IncomingMigration, MigrationReport};
use qemu_qmp::command::{Cont, Quit};
use qemu_qmp::{Client, Disconnected};

use super::operation::{self, GivenUp};
use super::source::Source;
use super::{MigrationTurn, MoveError, live};
use crate::Machine;

/// Moves a guest; made by [`Machine::migrate_to`].
///
/// # Errors
/// [`MoveError`]; the guest resumes its earlier state here. After the deadline,
/// the operation waits up to 5 s more until QEMU has cancelled the migration.
/// There is one exception: if the connection to the other machine is lost just
/// while the guest is started there, its state there is not known. Then the
/// guest stays paused here.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the move is cancelled, unless
/// the guest already runs there. The guest resumes its earlier state here when
/// QEMU has cancelled the migration.
#[derive(Debug)]
#[must_use = "nothing is moved until awaited or waited for"]
pub struct Move {
    machine: Machine,
    other: Machine,
    live: bool,
    timeout: Option<Duration>,
}

impl Move {
    pub(super) fn new(machine: &Machine, other: &Machine) -> Self {
        Self {
            machine: machine.clone(),
            other: other.clone(),
            live: false,
            timeout: machine.deadlines().limit(),
        }
    }

    /// Lets the guest run while most of its memory is moved. It is paused for
    /// the rest, and then QEMU starts it on the other side. QEMU sends again
    /// what the guest writes during the move. So if the guest writes faster
    /// than QEMU sends, the move never completes.
    ///
    /// Fails with [`MoveError::NotLive`] on QEMU before 9.0 without KVM: the
    /// guest would be broken on the other side.
    pub fn live(mut self) -> Self {
        self.live = true;
        self
    }
}

timeout_option!(Move, timeout);

operation!(Move => Result<MigrationReport, MoveError>);

impl Move {
    async fn run(self) -> Result<MigrationReport, MoveError> {
        let Self {
            machine,
            other,
            live,
            timeout,
        } = self;
        MoveError::check_disks(&machine)?;
        let transfer = Transfer {
            from: machine.monitor().clone(),
            to: other.monitor().clone(),
            name: machine.name().to_owned(),
            live,
        };
        let turn = machine.inner.migration_turn.clone();
        let moved = |given_up| transfer.run(given_up, turn);
        operation::run(&machine, "move its guest", timeout, moved).await
    }
}

/// Runs on the engine, so it must not own a machine: the drop of a last handle
/// blocks.
struct Transfer {
    from: Client,
    to: Client,
    name: String,
    live: bool,
}

impl Transfer {
    async fn run(
        self,
        given_up: GivenUp,
        turn: MigrationTurn,
    ) -> Result<Option<MigrationReport>, MoveError> {
        let Some(_turn) = given_up.or(turn.lock()).await else {
            return Ok(None);
        };
        if self.live {
            live::check(&self.from, &self.name).await?;
        }
        let (ours, incoming) = match given_up.or(self.offer()).await {
            Some(Ok(offered)) => offered,
            Some(Err(error)) => return Err(error),
            None => return Ok(None),
        };
        let source = Source::pause(&self.from, self.live).await?;
        let error = match given_up.or(self.migrate(ours, incoming)).await {
            Some(Ok(report)) => match self.start_there(&source).await {
                Ok(()) => return Ok(Some(report)),
                Err(NotStarted::Unknown(error)) => return Err(error),
                Err(NotStarted::Paused(error)) => Some(error),
            },
            Some(Err(error)) => Some(error),
            None => None,
        };
        self.resume_here(source, error.as_ref()).await;
        error.map_or(Ok(None), Err)
    }

    /// Offers the guest to the other machine. If it is not sent later, that
    /// machine sees the end of the socket, and ends.
    async fn offer(&self) -> Result<(UnixStream, IncomingMigration), MoveError> {
        let (ours, theirs) = UnixStream::pair().map_err(|cause| MoveError::Socket {
            machine: self.name.clone(),
            cause: Arc::new(cause),
        })?;
        let incoming = self.to.migrate_incoming_over(theirs).timeout(None).await?;
        Ok((ours, incoming))
    }

    async fn migrate(
        &self,
        ours: UnixStream,
        incoming: IncomingMigration,
    ) -> Result<MigrationReport, MoveError> {
        let report = self.from.migrate_over(ours).timeout(None).await?;
        incoming.wait_for_completion().timeout(None).await?;
        Ok(report)
    }

    /// Starts the guest on the other machine. Before this, unless the move is
    /// live, it has not run there, and could still resume here.
    async fn start_there(&self, source: &Source) -> Result<(), NotStarted> {
        if self.live || !source.ran() {
            return Ok(());
        }
        match self.to.execute(Cont).timeout(None).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let has_ended = matches!(error.disconnected(), Some(Disconnected::ServerEnded(_)));
                let is_paused = error.reply().is_some() || has_ended;
                let error = error.into();
                Err(if is_paused {
                    NotStarted::Paused(error)
                } else {
                    NotStarted::Unknown(error)
                })
            }
        }
    }

    /// Resumes the guest here. First it ends the other machine, with its locks
    /// of the disks.
    async fn resume_here(&self, source: Source, error: Option<&MoveError>) {
        let is_refused = error.is_some_and(MoveError::is_refusal);
        if !is_refused && source.cancel().await {
            if self.live {
                // It may already run there.
                return;
            }
            let mut end = self.to.events_named([""; 0]);
            let _ = self.to.execute(Quit).timeout(None).await;
            let _ = end.next().timeout(None).await;
        }
        source.resume().await;
    }
}

/// Why the guest does not run on the other machine.
enum NotStarted {
    Paused(MoveError),
    Unknown(MoveError),
}
