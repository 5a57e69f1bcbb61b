//! The guest of a save or a move: paused for it, and resumed if it fails.

use qemu_qmp::Client;
use qemu_qmp::command::{Cont, QueryStatus, Stop};
use qemu_qmp::error::ExecuteError;

/// A guest and its earlier state.
#[derive(Debug)]
pub(crate) struct Source {
    qmp: Client,
    ran: bool,
}

impl Source {
    /// Pauses the guest if it runs, unless the save or move is `live`.
    pub(crate) async fn pause(qmp: &Client, live: bool) -> Result<Self, ExecuteError> {
        let status = qmp.execute(QueryStatus).timeout(None).await?;
        // A sleeping guest (ACPI S3) can wake at any time.
        let ran = status.running || status.status == "suspended";
        if ran && !live {
            qmp.execute(Stop).timeout(None).await?;
        }
        Ok(Self {
            qmp: qmp.clone(),
            ran,
        })
    }

    /// Whether it ran.
    pub(crate) fn ran(&self) -> bool {
        self.ran
    }

    /// Cancels the migration. Returns whether it had already completed.
    pub(crate) async fn cancel(&self) -> bool {
        let status = self.qmp.cancel_migration().timeout(None).await;
        status.is_ok_and(|status| status.as_deref() == Some("completed"))
    }

    /// Resumes the guest, if it ran.
    pub(crate) async fn resume(self) {
        if !self.ran {
            return;
        }
        if let Err(error) = self.qmp.execute(Cont).timeout(None).await
            && error.reply().is_some()
        {
            log::warn!("after a failed save or move, the guest cannot resume: {error}");
        }
    }
}
