//! Migrates a guest's state out to a descriptor, or in from one, and follows the
//! migration to its end.
//!
//! The server reports each state (`MigrationStatus` in QEMU's schema) by an event,
//! if the capability `events` is set. This module sets it first.

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use serde_json::{Value, json};

use super::cancel_migration::has_ended;
use super::job::note_state;
use super::migration_cleanup::{cleaned_up, finalized};
use super::{Client, EventError, Events, ExecuteError, PassedFd};
use crate::error_kind::ErrorKind;
use qemu_qmp_engine::{Elapsed, operation, timeout_option};

/// Migrates a guest out; made by [`Client::migrate_over`].
///
/// # Errors
/// See the variants of [`MigrationError`].
///
/// # Cancel safety
/// If the future is dropped after the migration has started, the migration
/// continues; [`Client::cancel_migration`] ends it. Before that, nothing remains.
#[must_use = "nothing is started until awaited or waited for"]
pub struct Migrate {
    client: Client,
    descriptor: PassedFd,
    timeout: Option<Duration>,
}

/// Starts a migration in; made by [`Client::migrate_incoming_over`].
///
/// # Errors
/// See the variants of [`MigrationError`].
///
/// # Cancel safety
/// As for [`Migrate`].
#[must_use = "nothing is asked for until awaited or waited for"]
pub struct MigrateIncoming {
    client: Client,
    descriptor: PassedFd,
    timeout: Option<Duration>,
}

/// A migration in that has started, or that the server waits for; made by
/// [`MigrateIncoming`].
#[derive(Debug)]
pub struct IncomingMigration {
    client: Client,
    events: Events,
}

/// Waits for the end of a migration in; made by
/// [`IncomingMigration::wait_for_completion`].
///
/// # Errors
/// See the variants of [`MigrationError`]. By default, QEMU exits if it cannot
/// load the state.
///
/// # Cancel safety
/// Dropping the future has no effect on the migration.
#[must_use = "nothing is waited for until awaited or waited for"]
pub struct WaitForMigration {
    incoming: IncomingMigration,
    timeout: Option<Duration>,
}

/// A completed migration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct MigrationReport {
    /// The migration's states, by their names on the wire: the last 1000.
    pub states: Vec<String>,
    /// How long it took; `None` if the server does not report it.
    pub total_time: Option<Duration>,
    /// How long the guest was paused; `None` if the server does not report it.
    pub downtime: Option<Duration>,
    /// How much of the guest's memory was sent, in bytes; `None` if the server
    /// does not report it.
    pub transferred_bytes: Option<u64>,
}

/// A migration did not complete.
#[derive(Clone)]
#[non_exhaustive]
pub enum MigrationError {
    /// A command failed.
    Execute(ExecuteError),
    /// The migration failed, or was cancelled.
    Failed {
        /// The server, such as `machine 'qemu-1'`.
        server: String,
        /// `failed` or `cancelled`.
        status: String,
        /// The server's description, if it gave one.
        reason: Option<String>,
    },
    /// The migration did not complete in time. It continues.
    Timeout {
        /// The server, such as `machine 'qemu-1'`.
        server: String,
        /// The deadline.
        limit: Duration,
        /// What was seen of the server, in lines of their own.
        seen: String,
    },
    /// The connection ended, for example with the server.
    Events(EventError),
}

impl fmt::Display for MigrationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Execute(cause) => write!(f, "{cause}"),
            Self::Failed {
                server,
                status,
                reason,
            } => write!(
                f,
                "{server}: migration {status}{}",
                after_colon(reason.as_deref())
            ),
            Self::Timeout {
                server,
                limit,
                seen,
            } => write!(
                f,
                "{server}: migration did not complete within {limit:?}{seen}"
            ),
            Self::Events(cause) => write!(f, "{cause}"),
        }
    }
}

impl Error for MigrationError {}

impl MigrationError {
    /// The kind of failure, to decide by.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Execute(cause) => cause.kind(),
            Self::Failed { .. } => ErrorKind::Refused,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Events(cause) => cause.kind(),
        }
    }

    /// The system error, if that is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Execute(cause) => cause.io_error(),
            Self::Events(cause) => cause.io_error(),
            Self::Failed { .. } | Self::Timeout { .. } => None,
        }
    }
}

fn after_colon(reason: Option<&str>) -> String {
    reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default()
}

impl Client {
    /// Migrates the guest over a descriptor, and follows the migration to its
    /// end: a socket to the other server, a pipe, or a file that is open for
    /// writing. The guest is then paused (run state `postmigrate`).
    ///
    /// Nothing is started before the result is awaited or waited for.
    pub fn migrate_over(&self, descriptor: impl Into<PassedFd>) -> Migrate {
        Migrate {
            client: self.clone(),
            descriptor: descriptor.into(),
            timeout: self.deadlines().limit(),
        }
    }

    /// Starts a migration in over a descriptor: a socket, a pipe, or a file that
    /// is open for reading. The server must run with `-incoming defer`.
    ///
    /// Nothing is started before the result is awaited or waited for.
    pub fn migrate_incoming_over(&self, descriptor: impl Into<PassedFd>) -> MigrateIncoming {
        MigrateIncoming {
            client: self.clone(),
            descriptor: descriptor.into(),
            timeout: self.deadlines().limit(),
        }
    }

    /// Turns the events of migrations on, and listens.
    async fn migration_events(&self) -> Result<Events, ExecuteError> {
        let events = self.events_named(["MIGRATION"]);
        let on = json!({"capabilities": [{"capability": "events", "state": true}]});
        let set = self.execute_json("migrate-set-capabilities", on);
        set.timeout(None).await?;
        Ok(events)
    }

    /// Starts a migration by this command over a descriptor.
    async fn start_migration(
        &self,
        command: &str,
        descriptor: PassedFd,
    ) -> Result<(), ExecuteError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut named = NamedFd {
            client: self,
            name: format!("migration-{number}"),
            is_taken: false,
        };
        self.getfd(&named.name, descriptor).timeout(None).await?;
        let arguments = json!({"uri": format!("fd:{}", named.name)});
        let started = self.execute_json(command, arguments).timeout(None).await;
        named.is_taken = started.is_ok();
        started.map(|_: Value| ())
    }
}

/// A descriptor that the server has under a name. A migration takes it; if the
/// migration is refused, the drop closes it.
struct NamedFd<'a> {
    client: &'a Client,
    name: String,
    is_taken: bool,
}

impl Drop for NamedFd<'_> {
    fn drop(&mut self) {
        // A forked process has a copy of this handle. It must not use the
        // parent's connection.
        if self.is_taken || !self.client.handle.engine.is_of_this_process() {
            return;
        }
        // The first poll sends it, and no caller waits for the reply. If the
        // migration command still takes the descriptor, the name does not exist
        // any more and this fails.
        let arguments = json!({"fdname": self.name});
        let close = self.client.execute_json("closefd", arguments).timeout(None);
        let mut context = Context::from_waker(Waker::noop());
        let _ = close.into_future().as_mut().poll(&mut context);
    }
}

timeout_option!(Migrate, timeout);

timeout_option!(MigrateIncoming, timeout);

impl IncomingMigration {
    /// Waits until the migration has completed.
    pub fn wait_for_completion(self) -> WaitForMigration {
        let timeout = self.client.deadlines().limit();
        WaitForMigration {
            incoming: self,
            timeout,
        }
    }
}

timeout_option!(WaitForMigration, timeout);

operation!(Migrate => Result<MigrationReport, MigrationError>);

impl Migrate {
    async fn run(self) -> Result<MigrationReport, MigrationError> {
        let Self {
            client,
            descriptor,
            timeout,
        } = self;
        let migration = async {
            let events = client.migration_events().await;
            let mut events = events.map_err(MigrationError::Execute)?;
            cleaned_up(&client).await.map_err(MigrationError::Execute)?;
            let started = client.start_migration("migrate", descriptor).await;
            started.map_err(MigrationError::Execute)?;
            follow(&client, &mut events).await
        };
        within(client.clone(), timeout, migration).await
    }
}

operation!(MigrateIncoming => Result<IncomingMigration, MigrationError>);

impl MigrateIncoming {
    async fn run(self) -> Result<IncomingMigration, MigrationError> {
        let Self {
            client,
            descriptor,
            timeout,
        } = self;
        let start = async {
            let events = client.migration_events().await;
            let events = events.map_err(MigrationError::Execute)?;
            let started = client.start_migration("migrate-incoming", descriptor).await;
            started.map_err(MigrationError::Execute)?;
            Ok(events)
        };
        let events = within(client.clone(), timeout, start).await?;
        Ok(IncomingMigration { client, events })
    }
}

operation!(WaitForMigration => Result<MigrationReport, MigrationError>);

impl WaitForMigration {
    async fn run(self) -> Result<MigrationReport, MigrationError> {
        let IncomingMigration { client, mut events } = self.incoming;
        let migration = follow(&client, &mut events);
        within(client.clone(), self.timeout, migration).await
    }
}

pub(super) async fn within<T>(
    client: Client,
    timeout: Option<Duration>,
    ended: impl Future<Output = Result<T, MigrationError>>,
) -> Result<T, MigrationError> {
    match client.deadlines().timeout(timeout, ended).await {
        Ok(ended) => ended,
        Err(Elapsed(limit)) => Err(MigrationError::Timeout {
            server: client.server(),
            limit,
            seen: client.handle.shared.context.seen(),
        }),
    }
}

/// Follows the migration to its last state.
async fn follow(client: &Client, events: &mut Events) -> Result<MigrationReport, MigrationError> {
    let mut history = Vec::new();
    loop {
        let event = events.next().timeout(None).await;
        let data: Value = event
            .map_err(MigrationError::Events)?
            .data()
            .unwrap_or_default();
        let status = data["status"].as_str().unwrap_or_default().to_owned();
        note_state(&mut history, &status);
        if !has_ended(&status) {
            continue;
        }
        let reply = client.execute_json("query-migrate", ()).timeout(None).await;
        if status != "completed" {
            let reply = reply.unwrap_or_default();
            return Err(MigrationError::Failed {
                server: client.server(),
                status,
                reason: reply["error-desc"].as_str().map(ToOwned::to_owned),
            });
        }
        let reply = reply.map_err(MigrationError::Execute)?;
        finalized(client).await.map_err(MigrationError::Execute)?;
        let millis = |name: &str| reply[name].as_u64().map(Duration::from_millis);
        return Ok(MigrationReport {
            states: history,
            total_time: millis("total-time"),
            downtime: millis("downtime"),
            transferred_bytes: reply["ram"]["transferred"].as_u64(),
        });
    }
}
