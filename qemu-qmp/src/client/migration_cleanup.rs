//! What QEMU still does after it has reported the last state of a migration.
//! It has no events for that, so this queries, at a pace.

use std::time::Duration;

use serde_json::Value;

use super::{Client, ExecuteError};
use crate::command::QueryStatus;
use qemu_qmp_engine as engine;

/// Waits until the server accepts `cont`. It reports a completed migration
/// slightly before that.
pub(super) async fn finalized(client: &Client) -> Result<(), ExecuteError> {
    while client.execute(QueryStatus).timeout(None).await?.status == "finish-migrate" {
        engine::pause(PACE).await;
    }
    Ok(())
}

/// Waits until the server accepts the next migration. It reports a failed
/// migration before the thread of that migration has ended. If `migrate` comes
/// before that, QEMU 10.0 refuses it (`duplicate yank instance`), and then all
/// later ones, because it takes the refused one for active.
///
/// The migration's yank instance (QEMU 6.0, `yank.json`) goes last.
pub(super) async fn cleaned_up(client: &Client) -> Result<(), ExecuteError> {
    loop {
        let reply = client.execute_json("query-yank", ()).timeout(None).await;
        match reply {
            Ok(instances) if is_migrating(&instances) => engine::pause(PACE).await,
            // A server without the command.
            Err(error) if error.reply().is_some() => return Ok(()),
            reply => return reply.map(drop),
        }
    }
}

fn is_migrating(instances: &Value) -> bool {
    let mut all = instances.as_array().into_iter().flatten();
    all.any(|instance| instance["type"] == "migration")
}

const PACE: Duration = Duration::from_millis(1);
