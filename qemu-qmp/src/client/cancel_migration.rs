//! Cancels a migration out, and waits until the server has finished it.

use qemu_qmp_engine::{operation, timeout_option};
use std::time::Duration;

use serde_json::Value;

use super::migration::within;
use super::migration_cleanup::finalized;
use super::{Client, MigrationError};

/// Cancels a migration out; made by [`Client::cancel_migration`].
///
/// # Errors
/// [`MigrationError::Execute`], [`MigrationError::Events`] and
/// [`MigrationError::Timeout`], as for [`Migrate`](super::Migrate).
///
/// # Cancel safety
/// If the future is dropped after it was polled, the migration is still
/// cancelled.
#[must_use = "nothing is cancelled until awaited or waited for"]
pub struct CancelMigration {
    client: Client,
    timeout: Option<Duration>,
}

impl Client {
    /// Cancels the migration out (`migrate_cancel`), and waits until QEMU has
    /// finished it. Then `cont` can resume the guest.
    ///
    /// Returns the last state (`MigrationStatus` in QEMU's schema): `cancelled`,
    /// or `completed` or `failed` if it ended before. `None` without a migration.
    ///
    /// It works for migrations of this crate, which turns their events on. For
    /// other migrations it may wait until the deadline.
    pub fn cancel_migration(&self) -> CancelMigration {
        CancelMigration {
            client: self.clone(),
            timeout: self.deadlines().limit(),
        }
    }
}

timeout_option!(CancelMigration, timeout);

operation!(CancelMigration => Result<Option<String>, MigrationError>);

impl CancelMigration {
    async fn run(self) -> Result<Option<String>, MigrationError> {
        let Self { client, timeout } = self;
        within(client.clone(), timeout, cancel(&client)).await
    }
}

async fn cancel(client: &Client) -> Result<Option<String>, MigrationError> {
    let execute = |command| async move {
        let reply = client.execute_json(command, ()).timeout(None).await;
        reply.map_err(MigrationError::Execute)
    };
    // Listens before the query, so that it misses no state.
    let mut events = client.events_named(["MIGRATION"]);
    let _: Value = execute("migrate_cancel").await?;
    loop {
        let reply: Value = execute("query-migrate").await?;
        let status = reply["status"].as_str();
        if status.is_none_or(has_ended) {
            finalized(client).await.map_err(MigrationError::Execute)?;
            return Ok(status.filter(|&it| it != "none").map(ToOwned::to_owned));
        }
        events
            .next()
            .timeout(None)
            .await
            .map_err(MigrationError::Events)?;
    }
}

/// Whether this state is the last one.
pub(super) fn has_ended(status: &str) -> bool {
    ["none", "completed", "failed", "cancelled"].contains(&status)
}
