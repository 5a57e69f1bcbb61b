//! Starts a background job, and follows it through its states to its end
//! (`JobStatus` in QEMU's schema).
//!
//! ```text
//! created -> running -> [ready] -> [waiting] -> [pending] -> concluded -> null
//!                        complete             finalize     dismiss
//! ```
//!
//! The server reports each state by an event. This module listens before it starts
//! the job, and sends the command that a state needs when its event comes.

use qemu_qmp_engine::{operation, timeout_option};
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use serde_core::Serialize;
use serde_json::{Value, json};

use super::{Client, EventError, Events, ExecuteError};
use crate::error_kind::ErrorKind;
use crate::wire::Event;
use qemu_qmp_engine::Elapsed;
use qemu_qmp_engine::error_text::Quoted;

/// Runs a background job; made by [`Client::run_job`].
///
/// # Errors
/// [`JobError`]; its [`failure`](JobError::failure) is the reason.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the job continues in the server,
/// and is not dismissed.
#[must_use = "nothing is started until awaited or waited for"]
pub struct RunJob {
    client: Client,
    command: String,
    arguments: Value,
    watch: Option<Watch>,
    timeout: Option<Duration>,
}

/// The caller's function for progress, and how often to call it.
struct Watch {
    every: Duration,
    watch: Box<dyn FnMut(Progress) + Send>,
}

/// How far a job is. The unit depends on the job: bytes for most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Progress {
    /// How much is done.
    pub current: u64,
    /// How much must be done in all, as estimated now.
    pub total: u64,
}

/// How a job went.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct JobReport {
    /// Its id.
    pub id: String,
    /// The job's states, by their names on the wire: the last 1000.
    pub states: Vec<String>,
    /// The last known progress.
    pub progress: Progress,
}

/// A background job failed.
#[derive(Clone)]
#[non_exhaustive]
pub struct JobError {
    /// The server, such as `machine 'qemu-1'`.
    pub server: String,
    /// How far the job came.
    pub report: JobReport,
    /// Why it failed.
    pub failure: Box<JobFailure>,
}

/// Why a background job failed.
#[derive(Clone)]
#[non_exhaustive]
pub enum JobFailure {
    /// The arguments have no `job-id`, so the job cannot be followed. Nothing
    /// was started.
    NoId,
    /// A command failed.
    Execute(ExecuteError),
    /// The job failed, or was cancelled.
    Failed {
        /// The server's description.
        reason: String,
    },
    /// The job did not end in time. It continues in the server.
    Timeout {
        /// The deadline.
        limit: Duration,
        /// What was seen of the server, in lines of their own.
        seen: String,
    },
    /// The connection ended, or the listener lagged.
    Events(EventError),
}

impl fmt::Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoId => f.write_str("was not started: its arguments have no 'job-id' string"),
            Self::Execute(cause) => write!(f, "{cause}"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
            Self::Timeout { limit, seen } => write!(f, "did not end within {limit:?}{seen}"),
            Self::Events(cause) => write!(f, "{cause}"),
        }
    }
}

impl StdError for JobFailure {}

impl JobFailure {
    /// The kind of failure, to decide by.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NoId => ErrorKind::InvalidInput,
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
            Self::NoId | Self::Failed { .. } | Self::Timeout { .. } => None,
        }
    }
}

impl JobError {
    /// The kind of failure, to decide by.
    pub fn kind(&self) -> ErrorKind {
        self.failure.kind()
    }

    /// The system error, if that is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        self.failure.io_error()
    }
}

impl RunJob {
    pub(super) fn new(client: Client, command: &str, arguments: impl Serialize) -> Self {
        Self {
            timeout: client.deadlines().limit(),
            client,
            command: command.to_owned(),
            // Arguments that are not JSON have no id: it fails when it runs.
            arguments: serde_json::to_value(arguments).unwrap_or_default(),
            watch: None,
        }
    }

    /// Calls `watch` with the job's progress while it runs, in the task or thread
    /// that waits. `every` is how often the server is asked: it has no event for
    /// progress.
    pub fn on_progress(
        mut self,
        every: Duration,
        watch: impl FnMut(Progress) + Send + 'static,
    ) -> Self {
        let watch = Box::new(watch);
        self.watch = Some(Watch { every, watch });
        self
    }
}

timeout_option!(RunJob, timeout);

operation!(RunJob => Result<JobReport, JobError>);

impl RunJob {
    async fn run(mut self) -> Result<JobReport, JobError> {
        let client = self.client.clone();
        let mut report = JobReport::default();
        let timeout = self.timeout;
        let ended = self.follow(&mut report);
        let failure = match client.deadlines().timeout(timeout, ended).await {
            Ok(Ok(())) => return Ok(report),
            Ok(Err(failure)) => failure,
            Err(Elapsed(limit)) => JobFailure::Timeout {
                limit,
                seen: client.handle.shared.context.seen(),
            },
        };
        Err(JobError {
            server: client.server(),
            report,
            failure: Box::new(failure),
        })
    }
}

impl RunJob {
    async fn follow(&mut self, report: &mut JobReport) -> Result<(), JobFailure> {
        let id = self.arguments["job-id"]
            .as_str()
            .ok_or(JobFailure::NoId)?
            .to_owned();
        report.id.clone_from(&id);
        let finalizes_itself = self.arguments["auto-finalize"] != false;
        // Otherwise the job is gone before its error can be queried.
        if DISMISS_THEMSELVES.contains(&self.command.as_str())
            && self.arguments["auto-dismiss"].is_null()
        {
            self.arguments["auto-dismiss"] = false.into();
        }
        let mut events = self.client.events_matching([
            ("JOB_STATUS_CHANGE", json!({"id": id})),
            ("BLOCK_JOB_COMPLETED", json!({"device": id})),
        ]);
        execute(&self.client, &self.command, &self.arguments).await?;
        let mut reason = None;
        let mut is_completing = false;
        loop {
            let event = self.next(&mut events, report).await?;
            let data: Value = event.data().unwrap_or_default();
            // A job that dismisses itself reports its failure only here.
            if let Some(error) = data["error"].as_str() {
                reason = Some(error.to_owned());
            }
            let Some(status) = data["status"].as_str() else {
                continue;
            };
            note_state(&mut report.states, status);
            match status {
                "ready" if !is_completing => {
                    is_completing = true;
                    execute(&self.client, "job-complete", &json!({"id": id})).await?;
                }
                "pending" if !finalizes_itself => {
                    execute(&self.client, "job-finalize", &json!({"id": id})).await?;
                }
                "concluded" => {
                    if let Some(job) = self.query(report).await? {
                        if let Some(error) = job["error"].as_str() {
                            reason = Some(error.to_owned());
                        }
                        execute(&self.client, "job-dismiss", &json!({"id": id})).await?;
                    }
                }
                "null" => break,
                _ => {}
            }
        }
        match reason {
            Some(reason) => Err(JobFailure::Failed { reason }),
            None => Ok(()),
        }
    }

    /// Waits for the next event. Queries the progress while it waits, if the caller
    /// watches it.
    async fn next(
        &mut self,
        events: &mut Events,
        report: &mut JobReport,
    ) -> Result<Event, JobFailure> {
        loop {
            let Some(Watch { every, .. }) = self.watch else {
                let next = events.next().timeout(None).await;
                return next.map_err(JobFailure::Events);
            };
            match events.next().timeout(every).await {
                Err(EventError::Timeout { .. }) => {
                    self.query(report).await?;
                }
                next => return next.map_err(JobFailure::Events),
            }
        }
    }

    /// Queries the job; `None` if it is gone.
    async fn query(&mut self, report: &mut JobReport) -> Result<Option<Value>, JobFailure> {
        let jobs = execute(&self.client, "query-jobs", &Value::Null).await?;
        let mut jobs = jobs.as_array().into_iter().flatten();
        let Some(job) = jobs.find(|job| job["id"] == report.id.as_str()) else {
            return Ok(None);
        };
        report.progress = Progress {
            current: job["current-progress"].as_u64().unwrap_or_default(),
            total: job["total-progress"].as_u64().unwrap_or_default(),
        };
        if let Some(Watch { watch, .. }) = &mut self.watch {
            watch(report.progress);
        }
        Ok(Some(job.clone()))
    }
}

async fn execute(client: &Client, command: &str, arguments: &Value) -> Result<Value, JobFailure> {
    let execute = client.execute_json(command, arguments);
    execute.timeout(None).await.map_err(JobFailure::Execute)
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            server,
            report,
            failure,
        } = self;
        let JobReport {
            id,
            states,
            progress,
        } = report;
        let id = Quoted(id);
        match &**failure {
            // These messages start with the server's name.
            JobFailure::Execute(_) | JobFailure::Events(_) => write!(f, "job {id}: {failure}")?,
            _ => write!(f, "{server}: job {id} {failure}")?,
        }
        if let Some(state) = states.last() {
            let Progress { current, total } = progress;
            write!(f, " (last state '{state}', {current} of {total} done)")?;
        }
        Ok(())
    }
}

impl StdError for JobError {}

/// Adds a state to a list. The list is bounded, whatever the server sends.
pub(super) fn note_state(states: &mut Vec<String>, reached: &str) {
    const MOST: usize = 1000;
    // Longer than the name of any state.
    const LETTERS: usize = 64;
    if states.len() == MOST {
        states.remove(0);
    }
    states.push(reached.chars().take(LETTERS).collect());
}

/// Commands whose jobs dismiss themselves by default when they have concluded. Other
/// jobs wait to be dismissed.
const DISMISS_THEMSELVES: [&str; 6] = [
    "block-commit",
    "block-stream",
    "blockdev-backup",
    "blockdev-mirror",
    "drive-backup",
    "drive-mirror",
];
