//! The state of a guest on its way: out to whatever a descriptor is, and in
//! from there, each followed to its end.
//!
//! The server tells each state of a migration (`MigrationStatus` in QEMU's
//! schema) by an event, where that capability is set, as it is here first.

use std::error::Error;
use std::fmt;
use std::future::{Future, IntoFuture};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use serde_json::{Value, json};

use super::cancel_migration::has_ended;
use super::job::note_state;
use super::{Client, EventError, Events, ExecuteError, Passed};
use crate::QueryStatus;
use qemu_qmp_engine::{self as engine, Elapsed, operation, timeout_option};

/// A migration out, not started yet; made by [`Client::migrate_over`].
///
/// # Errors
/// Each variant of [`MigrationError`] says when.
///
/// # Cancel safety
/// If the future is dropped after it was polled, a migration that was started
/// goes on; [`Client::cancel_migration`] ends it. One that was not leaves nothing.
#[must_use = "nothing is started until awaited or waited for"]
pub struct Migrate {
    client: Client,
    passed: Passed,
    timeout: Option<Duration>,
}

/// A migration in, not asked for yet; made by [`Client::migrate_incoming_over`].
///
/// # Errors
/// Each variant of [`MigrationError`] says when.
///
/// # Cancel safety
/// As for [`Migrate`].
#[must_use = "nothing is asked for until awaited or waited for"]
pub struct MigrateIncoming {
    client: Client,
    passed: Passed,
    timeout: Option<Duration>,
}

/// A migration in that the server waits for, or is about; given by
/// [`MigrateIncoming`].
#[derive(Debug)]
pub struct Incoming {
    client: Client,
    events: Events,
}

/// Waits for the end of a migration in; made by [`Incoming::completed`].
///
/// # Errors
/// Each variant of [`MigrationError`] says when. A server that cannot take the
/// state in ends, unless it was told otherwise.
///
/// # Cancel safety
/// Nothing depends on it.
#[must_use = "nothing is waited for until awaited or waited for"]
pub struct Completed {
    incoming: Incoming,
    timeout: Option<Duration>,
}

/// A migration that is complete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct MigrationReport {
    /// The states that it went through, by their names on the wire; the last
    /// 1000.
    pub states: Vec<String>,
    /// How long it took; `None` where the server does not say.
    pub total_time: Option<Duration>,
    /// How long the guest stood still for it; `None` likewise.
    pub downtime: Option<Duration>,
    /// How much of the guest's memory went out, in bytes; `None` likewise.
    pub transferred_bytes: Option<u64>,
}

/// A migration did not come to its end.
#[non_exhaustive]
pub enum MigrationError {
    /// A command was refused, or got no reply.
    Execute(ExecuteError),
    /// It has failed, or was cancelled.
    Failed {
        /// Whose it is, such as `machine 'qemu-1'`.
        server: String,
        /// `failed` or `cancelled`.
        status: String,
        /// The server's words, where it has some.
        reason: Option<String>,
    },
    /// It is not complete in time, and goes on.
    Timeout {
        /// Whose it is.
        server: String,
        /// The deadline.
        limit: Duration,
        /// What was seen of the server meanwhile, in lines of their own.
        seen: String,
    },
    /// The connection was lost, as where the server has ended.
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
                "{server}: the migration has {status}{}",
                in_words(reason.as_deref())
            ),
            Self::Timeout {
                server,
                limit,
                seen,
            } => write!(
                f,
                "{server}: the migration is not complete within {limit:?}{seen}"
            ),
            Self::Events(cause) => write!(f, "{cause}"),
        }
    }
}

impl Error for MigrationError {}

fn in_words(reason: Option<&str>) -> String {
    reason
        .map(|reason| format!(": {reason}"))
        .unwrap_or_default()
}

impl Client {
    /// Migrates the guest over a descriptor: a socket to the other server, a
    /// pipe, or a file that is open for writing; and follows it to its end. The
    /// guest stands still then (run state `postmigrate`).
    ///
    /// Nothing is started before the result is awaited or waited for.
    pub fn migrate_over(&self, passed: impl Into<Passed>) -> Migrate {
        Migrate {
            client: self.clone(),
            passed: passed.into(),
            timeout: self.deadlines().limit(),
        }
    }

    /// Has a server that was started with `-incoming defer` take a guest in
    /// over a descriptor: a socket, a pipe, or a file that is open for reading.
    ///
    /// Nothing is asked for before the result is awaited or waited for.
    pub fn migrate_incoming_over(&self, passed: impl Into<Passed>) -> MigrateIncoming {
        MigrateIncoming {
            client: self.clone(),
            passed: passed.into(),
            timeout: self.deadlines().limit(),
        }
    }

    /// Has the states of migrations told, and listens.
    async fn migration_events(&self) -> Result<Events, ExecuteError> {
        let events = self.events_named(["MIGRATION"]);
        let on = json!({"capabilities": [{"capability": "events", "state": true}]});
        let set = self.execute_json("migrate-set-capabilities", on);
        set.timeout(None).await?;
        Ok(events)
    }

    /// Has the states of migrations told, and starts one by this command over a
    /// descriptor.
    async fn start_migration(&self, command: &str, passed: Passed) -> Result<Events, ExecuteError> {
        static PASSED: AtomicU64 = AtomicU64::new(1);
        let events = self.migration_events().await?;
        let number = PASSED.fetch_add(1, Ordering::Relaxed);
        let mut lent = Lent {
            client: self,
            name: format!("migration-{number}"),
            is_taken: false,
        };
        self.getfd(&lent.name, passed).timeout(None).await?;
        let arguments = json!({"uri": format!("fd:{}", lent.name)});
        let started = self.execute_json(command, arguments).timeout(None).await;
        lent.is_taken = started.is_ok();
        started.map(|_: Value| events)
    }
}

/// A descriptor that the server is given by a name, until a migration takes it:
/// one that is refused leaves it there.
struct Lent<'a> {
    client: &'a Client,
    name: String,
    is_taken: bool,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // The copy that a fork made must leave the parent's connection be.
        if self.is_taken || !self.client.handle.engine.is_of_this_process() {
            return;
        }
        // Sent now, and nobody waits for the reply. Where the command is still
        // under way and takes it, there is nothing left to close by this name.
        let arguments = json!({"fdname": self.name});
        let close = self.client.execute_json("closefd", arguments).timeout(None);
        let mut context = Context::from_waker(Waker::noop());
        let _ = close.into_future().as_mut().poll(&mut context);
    }
}

timeout_option!(Migrate, timeout);

timeout_option!(MigrateIncoming, timeout);

impl Incoming {
    /// Waits until the guest is here.
    pub fn completed(self) -> Completed {
        let timeout = self.client.deadlines().limit();
        Completed {
            incoming: self,
            timeout,
        }
    }
}

timeout_option!(Completed, timeout);

operation!(Migrate => Result<MigrationReport, MigrationError>);

impl Migrate {
    async fn run(self) -> Result<MigrationReport, MigrationError> {
        let Self {
            client,
            passed,
            timeout,
        } = self;
        let ended = async {
            let started = client.start_migration("migrate", passed).await;
            let mut events = started.map_err(MigrationError::Execute)?;
            follow(&client, &mut events).await
        };
        within(client.clone(), timeout, ended).await
    }
}

operation!(MigrateIncoming => Result<Incoming, MigrationError>);

impl MigrateIncoming {
    async fn run(self) -> Result<Incoming, MigrationError> {
        let Self {
            client,
            passed,
            timeout,
        } = self;
        let begun = async {
            let started = client.start_migration("migrate-incoming", passed).await;
            started.map_err(MigrationError::Execute)
        };
        let events = within(client.clone(), timeout, begun).await?;
        Ok(Incoming { client, events })
    }
}

operation!(Completed => Result<MigrationReport, MigrationError>);

impl Completed {
    async fn run(self) -> Result<MigrationReport, MigrationError> {
        let Incoming { client, mut events } = self.incoming;
        let ended = follow(&client, &mut events);
        within(client.clone(), self.timeout, ended).await
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

/// Waits until the guest may go on: the server tells that a migration is
/// complete some instants before it is done with it, and refuses `cont` until
/// then. For that it has no event, so it is asked.
pub(super) async fn finalized(client: &Client) -> Result<(), ExecuteError> {
    while client.execute(QueryStatus).timeout(None).await?.status == "finish-migrate" {
        engine::pause(PACE).await;
    }
    Ok(())
}

const PACE: Duration = Duration::from_millis(1);

/// From state to state, to one that is an end.
async fn follow(client: &Client, events: &mut Events) -> Result<MigrationReport, MigrationError> {
    let mut states = Vec::new();
    loop {
        let event = events.next().timeout(None).await;
        let data: Value = event
            .map_err(MigrationError::Events)?
            .data()
            .unwrap_or_default();
        let reached = data["status"].as_str().unwrap_or_default().to_owned();
        note_state(&mut states, &reached);
        if !has_ended(&reached) {
            continue;
        }
        let told = client.execute_json("query-migrate", ()).timeout(None).await;
        if reached != "completed" {
            let told = told.unwrap_or_default();
            return Err(MigrationError::Failed {
                server: client.server(),
                status: reached,
                reason: told["error-desc"].as_str().map(ToOwned::to_owned),
            });
        }
        let told = told.map_err(MigrationError::Execute)?;
        finalized(client).await.map_err(MigrationError::Execute)?;
        let millis = |name: &str| told[name].as_u64().map(Duration::from_millis);
        return Ok(MigrationReport {
            states,
            total_time: millis("total-time"),
            downtime: millis("downtime"),
            transferred_bytes: told["ram"]["transferred"].as_u64(),
        });
    }
}
