//! A guest that moves to another machine.

use qemu_qmp_engine::{operation, timeout_option};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use qemu_qmp::{Client, Cont, Disconnected, IncomingMigration, MigrationReport, Quit};

use super::operation::{self, GivenUp};
use super::source::Source;
use super::{MigrationTurn, MoveError, live};
use crate::Machine;

/// Moves a guest; made by [`Machine::migrate_to`].
///
/// # Errors
/// [`MoveError`]; the guest goes on here as it was. If the deadline has passed,
/// up to 5 s more are given to QEMU to cancel the migration. Only if the
/// connection with the other machine is lost just as the guest is let run there,
/// so that nobody knows whether it does, it stays paused here.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the move is given up, unless the
/// guest runs there already. The guest goes on here as it was when QEMU has
/// cancelled the migration.
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

    /// Lets the guest run while most of its memory is moved. It is paused for the
    /// rest, and then QEMU itself lets it run on the other side. QEMU sends what
    /// the guest writes in between again, so a guest that writes faster than QEMU
    /// sends is moved never.
    ///
    /// Fails with [`MoveError::NotLive`] for a QEMU before 9.0 that does not use
    /// KVM: there the guest would be broken on the other side.
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

/// On the engine, so it holds no machine: the drop of the last handle waits.
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
            Some(Ok(report)) => match self.go_on_there(&source).await {
                Ok(()) => return Ok(Some(report)),
                Err(NotThere::NobodyKnows(error)) => return Err(error),
                Err(NotThere::Paused(error)) => Some(error),
            },
            Some(Err(error)) => Some(error),
            None => None,
        };
        self.go_on_here(source, error.as_ref()).await;
        error.map_or(Ok(None), Err)
    }

    /// Offers the guest to the other machine. If it is not sent then, that
    /// machine sees the end of the socket, and ends.
    async fn offer(&self) -> Result<(UnixStream, IncomingMigration), MoveError> {
        let (ours, theirs) = UnixStream::pair().map_err(|cause| MoveError::Socket {
            machine: self.name.clone(),
            cause,
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

    /// Lets the guest run where it is now. Up to here it has not, unless it is
    /// moved live, so it could still go on where it was.
    async fn go_on_there(&self, source: &Source) -> Result<(), NotThere> {
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
                    NotThere::Paused(error)
                } else {
                    NotThere::NobodyKnows(error)
                })
            }
        }
    }

    /// Lets the guest go on where it was. Whatever the other machine has of it is
    /// ended before, with its locks of the disks.
    async fn go_on_here(&self, source: Source, error: Option<&MoveError>) {
        let is_refused = error.is_some_and(MoveError::is_refusal);
        if !is_refused && source.cancel().await {
            if self.live {
                // It may run there.
                return;
            }
            let mut end = self.to.events_named([""; 0]);
            let _ = self.to.execute(Quit).timeout(None).await;
            let _ = end.next().timeout(None).await;
        }
        source.resume().await;
    }
}

/// Why the guest does not go on at the other machine.
enum NotThere {
    Paused(MoveError),
    NobodyKnows(MoveError),
}
