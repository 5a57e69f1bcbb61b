//! Loads the guest of a template into a QEMU that waits for one.
//!
//! ```text
//! capabilities, getfd, migrate-incoming --> MIGRATION: completed --> cont, capabilities
//! ```
//!
//! The commands of each step are sent together, because each reply costs a round
//! trip. The guest runs with the reply to `cont`.

use std::fs::File;
use std::future::{IntoFuture, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use qemu_qmp::Client;
use qemu_qmp::client::ExecuteJson;
use qemu_qmp::error::{ExecuteError, MigrationError};
use serde_json::{Value, json};

use super::LaunchFailure;
use crate::spec::image::{STATE, TemplateFiles};

/// Loads the state of the devices, and starts the guest if it ran. The memory
/// is there already: it is mapped from the template's file.
///
/// A script may have started another QEMU than the template's.
pub(super) async fn load(client: &Client, files: &dyn TemplateFiles) -> Result<(), LaunchFailure> {
    let version = client.greeting().and_then(|it| it.version.clone());
    let version = version.map(|it| it.to_string()).unwrap_or_default();
    if !files.version().is_empty() && version != files.version() {
        let reason = format!(
            "it is a guest of QEMU {}, and this is QEMU {version}; make the template again",
            files.version()
        );
        return Err(LaunchFailure::NotOfTemplate { reason });
    }
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
    let mut events = client.events_named(["MIGRATION"]);
    let begin = [
        set_capabilities(client, &[("x-ignore-shared", true), ("events", true)]),
        client.getfd(STATE, state),
        client.execute_json("migrate-incoming", json!({"uri": format!("fd:{STATE}")})),
    ];
    together(begin).await.map_err(MigrationError::Execute)?;
    loop {
        let event = events.next().timeout(None).await;
        let event = event.map_err(MigrationError::Events)?;
        let data: Value = event.data().unwrap_or_default();
        match data["status"].as_str().unwrap_or_default() {
            "completed" => break,
            status @ ("failed" | "cancelled") => {
                return Err(failed(client, status).await);
            }
            _ => {}
        }
    }
    // With the capability, the guest could not be saved or moved: the stream is
    // another. Later commands come after this one, so nobody waits for its reply.
    let whole = set_capabilities(client, &[("x-ignore-shared", false)]);
    if !guest_ran {
        return together([whole]).await.map_err(MigrationError::Execute);
    }
    let start = client.execute_json("cont", ()).timeout(None).into_future();
    let whole = whole.timeout(None).into_future();
    match first_reply(start, whole).await {
        Ok(_) => Ok(()),
        Err(error) => Err(MigrationError::Execute(error)),
    }
}

/// Sends two commands, and waits for the reply to the first.
async fn first_reply<F: Future + Unpin>(mut first: F, mut second: F) -> F::Output {
    let mut is_second_pending = true;
    poll_fn(|context| {
        let reply = Pin::new(&mut first).poll(context);
        if reply.is_pending() && is_second_pending {
            is_second_pending = Pin::new(&mut second).poll(context).is_pending();
        }
        reply
    })
    .await
}

fn set_capabilities(client: &Client, capabilities: &[(&str, bool)]) -> ExecuteJson {
    let capability = |(name, state): &(&str, bool)| json!({"capability": name, "state": state});
    let all: Vec<_> = capabilities.iter().map(capability).collect();
    client.execute_json("migrate-set-capabilities", json!({"capabilities": all}))
}

/// Sends these commands in order, without waiting for replies in between, and
/// waits for all replies.
async fn together(commands: impl IntoIterator<Item = ExecuteJson>) -> Result<(), ExecuteError> {
    let commands = commands.into_iter();
    let mut replies: Vec<_> = commands
        .map(|command| command.timeout(None).into_future())
        .collect();
    poll_fn(|context| {
        let mut failure = None;
        replies.retain_mut(|reply| match reply.as_mut().poll(context) {
            Poll::Pending => true,
            Poll::Ready(result) => {
                failure = failure.take().or(result.err());
                false
            }
        });
        match failure {
            Some(error) => Poll::Ready(Err(error)),
            None if replies.is_empty() => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    })
    .await
}

/// QEMU reports the reason, if it still runs.
async fn failed(client: &Client, status: &str) -> MigrationError {
    let reply = client.execute_json("query-migrate", ()).timeout(None).await;
    let reply: Value = reply.unwrap_or_default();
    MigrationError::Failed {
        server: client.server(),
        status: status.to_owned(),
        reason: reply["error-desc"].as_str().map(ToOwned::to_owned),
    }
}
