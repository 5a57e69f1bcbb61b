//! The end of a migration out that nobody wants any more.

use qemu_qmp_engine::{operation, timeout_option};
use std::time::Duration;

use serde_json::Value;

use super::migration::{finalized, within};
use super::{Client, MigrationError};

/// Cancels a migration out; made by [`Client::cancel_migration`].
///
/// # Errors
/// [`MigrationError::Execute`], [`MigrationError::Events`] and
/// [`MigrationError::Timeout`], as for [`Migrate`](super::Migrate).
///
/// # Cancel safety
/// If the future is dropped after it was polled, the migration is cancelled all
/// the same.
#[must_use = "nothing is cancelled until awaited or waited for"]
pub struct CancelMigration {
    client: Client,
    timeout: Option<Duration>,
}

impl Client {
    /// Cancels the migration out (`migrate_cancel`), and waits until QEMU is done
    /// with it: then the guest can be let run again by `cont`. Returns its last
    /// state (`MigrationStatus` in QEMU's schema): `cancelled`, or `completed` or
    /// `failed` if it ended before. `None` if there was none.
    ///
    /// For migrations that this crate started, whose events are on. It waits for
    /// those of another up to the deadline.
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
    // Before the question, so that no state comes between the two.
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

/// Whether no other state follows this one.
pub(super) fn has_ended(status: &str) -> bool {
    ["none", "completed", "failed", "cancelled"].contains(&status)
}
