//! A background job, started and followed to its end over all its states
//! (`JobStatus` in QEMU's schema).
//!
//! ```text
//! created -> running -> [ready] -> [waiting] -> [pending] -> concluded -> null
//!                        complete             finalize     dismiss
//! ```
//!
//! The server tells each state by an event, which is listened for before the
//! job is started; what the job waits for in one is done when that comes.

use qemu_qmp_engine::{operation, timeout_option};
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde_core::Serialize;
use serde_json::{Value, json};

use super::{Client, EventError, Events, ExecuteError};
use crate::wire::Event;
use qemu_qmp_engine::Elapsed;
use qemu_qmp_engine::error_text::Quoted;

/// A job, not started yet; made by [`Client::run_job`].
///
/// # Errors
/// [`JobError`], whose [`failure`](JobError::failure) says which.
///
/// # Cancel safety
/// If the future is dropped after it was polled, the job goes on in the server,
/// and nobody dismisses it.
#[must_use = "nothing is started until awaited or waited for"]
pub struct RunJob {
    client: Client,
    command: String,
    arguments: Value,
    watch: Option<Watch>,
    timeout: Option<Duration>,
}

/// How often to ask for the progress, and who wants to know.
struct Watch {
    every: Duration,
    watch: Box<dyn FnMut(Progress) + Send>,
}

/// How far a job is, in a unit of its own: bytes for most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// What is done.
    pub current: u64,
    /// What is done when all is, as estimated now.
    pub total: u64,
}

/// What became of a job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct JobReport {
    /// Its id.
    pub id: String,
    /// The states that it went through, by their names on the wire; the last
    /// 1000.
    pub states: Vec<String>,
    /// How far it came, as last known.
    pub progress: Progress,
}

/// A job did not do what it was to do.
#[non_exhaustive]
pub struct JobError {
    /// Whose job it is, such as `machine 'qemu-1'`.
    pub server: String,
    /// How far it came.
    pub report: JobReport,
    /// What went wrong.
    pub failure: Box<JobFailure>,
}

/// Why a job did not do what it was to do.
#[non_exhaustive]
pub enum JobFailure {
    /// The arguments have no `job-id`, by which it would be followed. Nothing
    /// was started.
    NoId,
    /// A command was refused, or got no reply.
    Execute(ExecuteError),
    /// The job has failed, or was cancelled.
    Failed {
        /// The server's words.
        reason: String,
    },
    /// It did not end in time, and goes on.
    Timeout {
        /// The deadline.
        limit: Duration,
        /// What was seen of the server meanwhile, in lines of their own.
        seen: String,
    },
    /// The connection was lost, or too many events came for the listener.
    Events(EventError),
}

impl fmt::Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoId => {
                f.write_str("cannot be followed: its arguments have no text for 'job-id'")
            }
            Self::Execute(cause) => write!(f, "{cause}"),
            Self::Failed { reason } => write!(f, "failed: {reason}"),
            Self::Timeout { limit, seen } => write!(f, "has not ended within {limit:?}{seen}"),
            Self::Events(cause) => write!(f, "{cause}"),
        }
    }
}

impl StdError for JobFailure {}

impl RunJob {
    pub(super) fn new(client: Client, command: &str, arguments: impl Serialize) -> Self {
        Self {
            timeout: client.deadlines().limit(),
            client,
            command: command.to_owned(),
            // What is no JSON has no id either.
            arguments: serde_json::to_value(arguments).unwrap_or_default(),
            watch: None,
        }
    }

    /// Calls `watch` with the job's progress while it runs, on the task or
    /// thread that waits for it. The server is asked so often, for it has no
    /// event for this.
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
        // Or it is gone before it can be asked why it failed.
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
            // A job that dismisses itself tells its failure here alone.
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

    /// The next event; asks for the progress meanwhile, if that is wanted.
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

    /// What the server tells of the job; `None` where it is gone.
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
            // They say themselves whose server it is.
            JobFailure::Execute(_) | JobFailure::Events(_) => write!(f, "job {id}: {failure}")?,
            _ => write!(f, "{server}: job {id} {failure}")?,
        }
        if let Some(state) = states.last() {
            let Progress { current, total } = progress;
            write!(f, " (last '{state}', {current} of {total} done)")?;
        }
        Ok(())
    }
}

impl StdError for JobError {}

/// Notes that this state was reached, in a list that no server can make grow
/// without bound.
pub(super) fn note_state(states: &mut Vec<String>, reached: &str) {
    const MOST: usize = 1000;
    // More than the name of any state has.
    const LETTERS: usize = 64;
    if states.len() == MOST {
        states.remove(0);
    }
    states.push(reached.chars().take(LETTERS).collect());
}

/// Commands whose jobs are gone as soon as they have concluded, unless it is
/// said otherwise. Those of the others wait to be dismissed.
const DISMISS_THEMSELVES: [&str; 6] = [
    "block-commit",
    "block-stream",
    "blockdev-backup",
    "blockdev-mirror",
    "drive-backup",
    "drive-mirror",
];
