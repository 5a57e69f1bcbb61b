//! Loads the guest of a template into a QEMU that waits for one.

use std::fs::File;

use qemu_qmp::Client;
use qemu_qmp::command::Cont;
use qemu_qmp::error::MigrationError;
use serde_json::json;

use super::LaunchFailure;
use crate::spec::image::{STATE, TemplateFiles};

/// Loads the state of the devices, and starts the guest if it ran. The memory
/// is there already: it is mapped from the template's file.
pub(super) async fn load(client: &Client, files: &dyn TemplateFiles) -> Result<(), LaunchFailure> {
    let path = files.directory().join(STATE);
    let state = File::open(&path).map_err(|cause| LaunchFailure::File {
        action: "read",
        path,
        cause: cause.into(),
    })?;
    let loaded = load_state(client, state, files.guest_ran()).await;
    loaded.map_err(LaunchFailure::NotLoaded)
}

async fn load_state(client: &Client, state: File, guest_ran: bool) -> Result<(), MigrationError> {
    let ignore = json!({"capabilities": [{"capability": "x-ignore-shared", "state": true}]});
    let set = client.execute_json("migrate-set-capabilities", ignore);
    set.timeout(None).await.map_err(MigrationError::Execute)?;
    let incoming = client.migrate_incoming_over(state).timeout(None).await?;
    incoming.wait_for_completion().timeout(None).await?;
    // With it, the guest could not be saved or moved: the stream is another.
    let whole = json!({"capabilities": [{"capability": "x-ignore-shared", "state": false}]});
    let set = client.execute_json("migrate-set-capabilities", whole);
    set.timeout(None).await.map_err(MigrationError::Execute)?;
    if guest_ran {
        let started = client.execute(Cont).timeout(None).await;
        started.map_err(MigrationError::Execute)?;
    }
    Ok(())
}
