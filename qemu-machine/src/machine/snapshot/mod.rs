//! Snapshots of a guest with its memory and its disks, stored in the disks.
//!
//! It uses the jobs `snapshot-save`, `snapshot-load` and `snapshot-delete` of
//! QEMU 6.0 and later. The reply to `query-block` shows the nodes that they
//! need.

mod disks;
pub(crate) mod error;

use qemu_qmp_engine::{operation, timeout_option};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use qemu_qmp::Client;
use qemu_qmp::command::QueryStatus;
use qemu_qmp_engine::Elapsed;
use serde_json::json;

use disks::Disk;
pub(crate) use error::{SnapshotError, SnapshotFailure};

use crate::Machine;

/// A snapshot in the disks of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// The size of the memory and devices of the guest, in bytes. With 0, the
    /// snapshot has only the disks, and a machine cannot load it.
    pub memory_bytes: u64,
    /// When it was taken, by the host's clock.
    pub taken: SystemTime,
    /// How long the guest had run.
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serialize::seconds"))]
    pub guest_clock: Duration,
    /// The disks with the snapshot: the names of their nodes.
    pub disks: Vec<String>,
}

/// Saves, loads or deletes a snapshot; made by [`Machine::save_snapshot`],
/// [`Machine::load_snapshot`] and [`Machine::delete_snapshot`].
///
/// # Errors
/// [`SnapshotError`]; its [`failure`](SnapshotError::failure) says why.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the operation continues to its
/// end: QEMU cannot cancel it.
#[derive(Debug)]
#[must_use = "nothing is done until awaited or waited for"]
pub struct RunSnapshot {
    machine: Machine,
    action: Action,
    name: String,
    nodes: Vec<String>,
    timeout: Option<Duration>,
}

/// Lists snapshots; made by [`Machine::snapshots`].
///
/// # Errors
/// [`SnapshotError`], with [`SnapshotFailure::Execute`] or
/// [`SnapshotFailure::Timeout`].
///
/// # Cancel safety
/// Safe: it has no side effects.
#[derive(Debug)]
#[must_use = "nothing is asked for until awaited or waited for"]
pub struct ListSnapshots {
    machine: Machine,
    timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
enum Action {
    Save,
    Load,
    Delete,
}

impl Machine {
    /// Saves the guest with its memory and its disks as a snapshot of this
    /// name, for [`load_snapshot`](Self::load_snapshot). The guest is paused
    /// during the save, and then resumes its earlier state.
    ///
    /// It includes all writable disks of the guest, so each must be able to
    /// store a snapshot: use the format qcow2. The first that can also stores
    /// the memory. QEMU refuses a name that a disk already has.
    ///
    /// While QEMU saves, loads or deletes a snapshot, its monitor does not answer.
    ///
    /// # Examples
    /// ```no_run
    /// use qemu_machine::{Machine, Wait};
    /// use qemu_machine::spec::Drive;
    ///
    /// let vm = Machine::builder("qemu-system-x86_64")
    ///     .drive(Drive::file("disk.qcow2").format("qcow2"))
    ///     .launch()
    ///     .wait()?;
    /// vm.save_snapshot("fresh").wait()?;
    /// // … a test spoils the guest …
    /// vm.load_snapshot("fresh").wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn save_snapshot(&self, name: &str) -> RunSnapshot {
        self.run_snapshot(Action::Save, name)
    }

    /// Restores a snapshot of this machine, or of a similar machine with the
    /// same disks. Then the guest runs if it ran before this call, and is
    /// otherwise paused. Its state at the save does not matter.
    ///
    /// If a disk has no such snapshot, the guest does not change. If QEMU fails
    /// to load it, the guest stays paused (run state `restore-vm`), and its
    /// disks and memory may not match.
    pub fn load_snapshot(&self, name: &str) -> RunSnapshot {
        self.run_snapshot(Action::Load, name)
    }

    /// Deletes a snapshot from all disks that have it.
    pub fn delete_snapshot(&self, name: &str) -> RunSnapshot {
        self.run_snapshot(Action::Delete, name)
    }

    /// The snapshots in the writable disks, the oldest first.
    pub fn snapshots(&self) -> ListSnapshots {
        ListSnapshots {
            machine: self.clone(),
            timeout: self.deadlines().limit(),
        }
    }

    fn run_snapshot(&self, action: Action, name: &str) -> RunSnapshot {
        RunSnapshot {
            machine: self.clone(),
            action,
            name: name.to_owned(),
            nodes: Vec::new(),
            timeout: self.deadlines().limit(),
        }
    }

    fn snapshot_error(&self, action: String, failure: SnapshotFailure) -> SnapshotError {
        SnapshotError {
            machine: self.name().to_owned(),
            action,
            failure: Box::new(failure),
        }
    }
}

impl RunSnapshot {
    /// Uses only the disks with these nodes (`node-name` in QEMU), instead of
    /// all writable disks. The others do not change, also at a load. Use it if
    /// the guest does not depend on the content of the other disks.
    pub fn disks<N: Into<String>>(mut self, nodes: impl IntoIterator<Item = N>) -> Self {
        self.nodes = nodes.into_iter().map(Into::into).collect();
        self
    }
}

timeout_option!(RunSnapshot, timeout);

timeout_option!(ListSnapshots, timeout);

operation!(RunSnapshot => Result<(), SnapshotError>);

impl RunSnapshot {
    async fn run(self) -> Result<(), SnapshotError> {
        let Self {
            machine,
            action,
            name,
            nodes,
            timeout,
        } = self;
        let what = format!("{} snapshot '{name}'", action.verb());
        let qmp = machine.monitor().clone();
        let turn = machine.inner.migration_turn.clone();
        // On the engine, so that the job is dismissed even if the caller gives
        // up.
        let done = machine.inner.engine.spawn(async move {
            let _turn = turn.lock().await;
            run(&qmp, action, &name, &nodes).await
        });
        let failure = match machine.deadlines().timeout(timeout, done).await {
            Ok(Some(Ok(()))) => return Ok(()),
            Ok(Some(Err(failure))) => failure,
            Ok(None) => unreachable!("nothing aborts it"),
            Err(Elapsed(limit)) => SnapshotFailure::Timeout { limit },
        };
        Err(machine.snapshot_error(what, failure))
    }
}

operation!(ListSnapshots => Result<Vec<Snapshot>, SnapshotError>);

impl ListSnapshots {
    async fn run(self) -> Result<Vec<Snapshot>, SnapshotError> {
        let Self { machine, timeout } = self;
        let found = find(machine.monitor(), &[]);
        let failure = match machine.deadlines().timeout(timeout, found).await {
            Ok(Ok(disks)) => return Ok(disks::list(&disks)),
            Ok(Err(failure)) => failure,
            Err(Elapsed(limit)) => SnapshotFailure::Timeout { limit },
        };
        Err(machine.snapshot_error("list its snapshots".to_owned(), failure))
    }
}

async fn run(
    qmp: &Client,
    action: Action,
    name: &str,
    nodes: &[String],
) -> Result<(), SnapshotFailure> {
    static JOBS: AtomicU64 = AtomicU64::new(1);
    let status = qmp.execute(QueryStatus).timeout(None).await?.status;
    // For a disk that it handed over, QEMU reports that it cannot store
    // snapshots.
    if ["inmigrate", "postmigrate"].contains(&&*status) {
        return Err(SnapshotFailure::Inactive { status });
    }
    let disks = find(qmp, nodes).await?;
    let mut arguments = match action {
        Action::Save => json!({"vmstate": disks::to_save(&disks, name)?}),
        Action::Load => json!({"vmstate": disks::to_load(&disks, name)?}),
        Action::Delete => json!({}),
    };
    arguments["devices"] = match action {
        Action::Delete => json!(disks::to_delete(&disks, name)?),
        Action::Save | Action::Load => disks.iter().map(|disk| &*disk.node).collect(),
    };
    arguments["tag"] = name.into();
    let number = JOBS.fetch_add(1, Ordering::Relaxed);
    arguments["job-id"] = format!("snapshot-job-{number}").into();
    let job = qmp.run_job(&format!("snapshot-{}", action.verb()), arguments);
    job.timeout(None)
        .await
        .map(drop)
        .map_err(SnapshotFailure::Job)
}

/// The writable disks.
async fn find(qmp: &Client, nodes: &[String]) -> Result<Vec<Disk>, SnapshotFailure> {
    let blocks = qmp.execute_json("query-block", ()).timeout(None).await?;
    disks::read(&blocks, nodes)
}

impl Action {
    /// Also part of the names of the commands.
    fn verb(self) -> &'static str {
        match self {
            Self::Save => "save",
            Self::Load => "load",
            Self::Delete => "delete",
        }
    }
}
