//! The operations: list the accelerators, try each, find the best.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use qemu_qmp_engine::error_text::Quoted;
use qemu_qmp_engine::{self as engine, Either, Elapsed, Engine, operation, race, timeout_option};

use super::cache::{self, Findings, Subject};
use super::trial::{self, GivenUp, NotListed};
use super::{Accel, AccelChoice, AccelFinding, AccelReport};
use crate::ExitReport;
use crate::launch::{Cancel, LaunchError};
use qemu_qmp::error::ErrorKind;

/// Lists the accelerators of a binary; returned by [`Accel::listed`].
///
/// # Errors
/// Each variant of [`AccelError`] says when.
///
/// # Cancel safety
/// If the future is dropped, QEMU is killed in the background.
#[derive(Debug)]
#[must_use = "nothing is asked until awaited or waited for"]
pub struct AccelList {
    binary: OsString,
    timeout: Option<Duration>,
}

/// Tries each accelerator of a binary; returned by [`Accel::probe`].
///
/// TCG runs first. Each of the others then has three times as long as TCG took,
/// plus one second. On an idle host a whole probe takes up to two seconds. It
/// takes half a second if each accelerator works or is denied.
///
/// The findings are kept until the host reboots or the binary's file changes.
/// If the binary is a script that starts QEMU, the script is that file. This
/// process keeps them in memory, and other processes read them in the user's
/// cache: `$XDG_CACHE_HOME/qemu-machine`, else `~/.cache/qemu-machine`.
///
/// With kept findings, a probe only checks what the host permits, which takes
/// well under a millisecond. A failed trial is not kept. Concurrent probes of
/// the same binary share one result.
///
/// # Errors
/// Each variant of [`AccelError`] says when. It is no error if no accelerator
/// works.
///
/// # Cancel safety
/// If the future is dropped, its machines are killed in the background. Another
/// caller that waited for the same probe runs the probe itself.
#[derive(Debug)]
#[must_use = "nothing is tried until awaited or waited for"]
pub struct AccelProbe {
    search: Search,
    timeout: Option<Duration>,
    cancel: Cancel,
}

/// What a probe is for.
#[derive(Debug)]
struct Search {
    binary: OsString,
    refresh: bool,
    folder: Option<PathBuf>,
}

/// Finds the best accelerator of a binary; returned by [`Accel::best`].
///
/// It runs an [`AccelProbe`], with the same time, cache and cancel safety.
///
/// # Errors
/// Each variant of [`BestAccelError`] says when.
#[derive(Debug)]
#[must_use = "nothing is tried until awaited or waited for"]
pub struct BestAccel {
    probe: AccelProbe,
}

/// The accelerators of a binary could not be listed or tried.
#[derive(Clone)]
#[non_exhaustive]
pub enum AccelError {
    /// The binary could not be run.
    Launch {
        /// The binary, as it was given.
        binary: OsString,
        /// Why not.
        cause: Arc<LaunchError>,
    },
    /// The binary exited without a list of accelerators; it may not be a QEMU.
    NotListed {
        /// The binary, as it was given.
        binary: OsString,
        /// How it exited, and what it printed.
        report: Arc<ExitReport>,
    },
    /// The probe did not end in time.
    Timeout {
        /// The binary, as it was given.
        binary: OsString,
        /// The deadline.
        limit: Duration,
        /// The step that had not ended.
        waited_for: String,
    },
    /// The caller cancelled the probe, see [`AccelProbe::cancel_on`].
    Cancelled {
        /// The binary, as it was given.
        binary: OsString,
    },
    /// The engine's thread cannot be started.
    Resources {
        /// The error of the system.
        cause: Arc<io::Error>,
    },
}

impl fmt::Display for AccelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Launch { binary, cause } => write!(
                f,
                "{}: cannot list its accelerators: {cause}",
                Quoted(binary.display())
            ),
            Self::NotListed { binary, report } => write!(
                f,
                "{}: cannot list its accelerators: `-accel help` printed no list: {report}",
                Quoted(binary.display())
            ),
            Self::Timeout {
                binary,
                limit,
                waited_for,
            } => write!(
                f,
                "{}: the probe of its accelerators did not end within {limit:?}: {waited_for}",
                Quoted(binary.display())
            ),
            Self::Cancelled { binary } => write!(
                f,
                "{}: the probe of its accelerators was cancelled by the caller",
                Quoted(binary.display())
            ),
            Self::Resources { cause } => write!(f, "cannot start a thread: {cause}"),
        }
    }
}

impl Error for AccelError {}

impl AccelError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Launch { cause, .. } => cause.kind(),
            Self::NotListed { .. } => ErrorKind::Unsupported,
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Cancelled { .. } => ErrorKind::Cancelled,
            Self::Resources { cause } => ErrorKind::of_io(cause),
        }
    }

    /// The error of the system, if one is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Launch { cause, .. } => cause.io_error(),
            Self::Resources { cause } => Some(cause),
            _ => None,
        }
    }
}

/// No best accelerator was found.
#[derive(Clone)]
#[non_exhaustive]
pub enum BestAccelError {
    /// The probe failed.
    Probe(AccelError),
    /// No accelerator of the binary runs a guest on this host.
    NoneWorks(AccelReport),
}

impl fmt::Display for BestAccelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probe(cause) => write!(f, "{cause}"),
            Self::NoneWorks(report) => {
                write!(f, "no accelerator runs a guest on this host; {report}")
            }
        }
    }
}

impl Error for BestAccelError {}

impl BestAccelError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Probe(cause) => cause.kind(),
            Self::NoneWorks(_) => ErrorKind::Unsupported,
        }
    }

    /// The error of the system, if one is the cause.
    pub fn io_error(&self) -> Option<&io::Error> {
        match self {
            Self::Probe(cause) => cause.io_error(),
            Self::NoneWorks(_) => None,
        }
    }
}

impl AccelList {
    pub(super) fn new(binary: OsString) -> Self {
        Self {
            binary,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

timeout_option!(AccelList, timeout);

operation!(AccelList => Result<Vec<Accel>, AccelError>);

impl AccelList {
    async fn run(self) -> Result<Vec<Accel>, AccelError> {
        let Self { binary, timeout } = self;
        within(timeout, &binary, async |_| {
            list(&binary, &GivenUp::default()).await
        })
        .await
    }
}

impl AccelProbe {
    pub(super) fn new(binary: OsString) -> Self {
        Self {
            search: Search {
                binary,
                refresh: false,
                folder: None,
            },
            timeout: DEFAULT_TIMEOUT,
            cancel: Cancel::default(),
        }
    }

    /// Tries every accelerator again, and replaces kept findings.
    pub fn refresh(mut self) -> Self {
        self.search.refresh = true;
        self
    }

    /// Keeps the findings in this folder, instead of in the user's cache. A
    /// missing folder is created.
    pub fn cache_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.search.folder = Some(path.into());
        self
    }

    /// Gives the probe up when this future ends. The operation then kills the
    /// machine that runs, waits for its end, and fails with
    /// [`AccelError::Cancelled`]. Nothing is left after that.
    pub fn cancel_on(mut self, given_up: impl Future<Output = ()> + Send + 'static) -> Self {
        self.cancel = Cancel::on(given_up);
        self
    }
}

timeout_option!(AccelProbe, timeout);

operation!(AccelProbe => Result<AccelReport, AccelError>);

impl AccelProbe {
    async fn run(self) -> Result<AccelReport, AccelError> {
        let Self {
            search,
            timeout,
            cancel,
        } = self;
        let given_up = GivenUp::default();
        let findings = within(timeout, &search.binary, async |stage| {
            let mut findings = pin!(search.findings(stage, &given_up));
            match race(findings.as_mut(), cancel.requested()).await {
                Either::Left(findings) => findings,
                Either::Right(()) => {
                    given_up.request();
                    findings.await
                }
            }
        });
        let findings = findings.await?;
        Ok(AccelReport::new(search.binary, findings))
    }
}

impl BestAccel {
    pub(super) fn new(binary: OsString) -> Self {
        Self {
            probe: AccelProbe::new(binary),
        }
    }

    /// Tries every accelerator again, see [`AccelProbe::refresh`].
    pub fn refresh(self) -> Self {
        let probe = self.probe.refresh();
        Self { probe }
    }

    /// Keeps the findings in this folder, see [`AccelProbe::cache_dir`].
    pub fn cache_dir(self, path: impl Into<PathBuf>) -> Self {
        let probe = self.probe.cache_dir(path);
        Self { probe }
    }

    /// Gives the probe up when this future ends, see [`AccelProbe::cancel_on`].
    pub fn cancel_on(self, given_up: impl Future<Output = ()> + Send + 'static) -> Self {
        let probe = self.probe.cancel_on(given_up);
        Self { probe }
    }
}

timeout_option!(BestAccel, probe.timeout);

operation!(BestAccel => Result<AccelChoice, BestAccelError>);

impl BestAccel {
    async fn run(self) -> Result<AccelChoice, BestAccelError> {
        let report = self.probe.await.map_err(BestAccelError::Probe)?;
        report.best().ok_or(BestAccelError::NoneWorks(report))
    }
}

/// The current step, for the error of a timeout.
struct Stage(String);

/// Runs `work` within this time.
async fn within<T>(
    timeout: Option<Duration>,
    binary: &OsStr,
    work: impl AsyncFnOnce(&mut Stage) -> Result<T, AccelError>,
) -> Result<T, AccelError> {
    // Before the first deadline, because the engine keeps the deadlines.
    Engine::start().map_err(|cause| AccelError::Resources {
        cause: Arc::new(cause),
    })?;
    let mut stage = Stage(LISTING.to_owned());
    match engine::timeout(timeout, work(&mut stage)).await {
        Ok(result) => result,
        Err(Elapsed(limit)) => Err(AccelError::Timeout {
            binary: binary.to_owned(),
            limit,
            waited_for: stage.0,
        }),
    }
}

async fn list(binary: &OsStr, given_up: &GivenUp) -> Result<Vec<Accel>, AccelError> {
    let listed = trial::list(binary, given_up).await;
    let binary = binary.to_owned();
    listed.map_err(|error| match error {
        _ if given_up.is_requested() => AccelError::Cancelled { binary },
        NotListed::Launch(cause) => AccelError::Launch {
            binary,
            cause: Arc::new(cause),
        },
        NotListed::Exit(report) => AccelError::NotListed { binary, report },
        NotListed::Timeout(limit) => AccelError::Timeout {
            binary,
            limit,
            waited_for: "`-accel help` did not exit".to_owned(),
        },
    })
}

impl Search {
    /// The kept findings, or those of a new probe.
    async fn findings(
        &self,
        stage: &mut Stage,
        given_up: &GivenUp,
    ) -> Result<Findings, AccelError> {
        let Some(subject) = Subject::of(&self.binary) else {
            return self.find(stage, given_up).await;
        };
        let place = subject.place();
        let probes_before = place.probes.load(Ordering::Acquire);
        "another probe of this binary is running".clone_into(&mut stage.0);
        let locked = race(place.last.lock(), given_up.requested()).await;
        let Either::Left(mut last) = locked else {
            return Err(self.cancelled());
        };
        let is_fresh = place.probes.load(Ordering::Acquire) != probes_before;
        let folder = self.folder.clone().or_else(cache::user_folder);
        if !self.refresh || is_fresh {
            let on_disk = || cache::read(folder.as_deref()?, &subject);
            let before = last.clone().or_else(on_disk);
            let reused = before
                .as_ref()
                .and_then(|findings| cache::reuse(findings, is_fresh, Accel::permitted));
            if let Some(findings) = reused {
                *last = before;
                return Ok(findings);
            }
        }
        let found = self.find(stage, given_up).await?;
        *last = Some(Arc::clone(&found));
        place.probes.fetch_add(1, Ordering::Release);
        if let Some(folder) = folder {
            cache::write(&folder, &subject, &found);
        }
        Ok(found)
    }

    /// Lists the accelerators and tries each. TCG runs first, because its time
    /// decides the time limit of the others.
    async fn find(&self, stage: &mut Stage, given_up: &GivenUp) -> Result<Findings, AccelError> {
        let binary = &self.binary;
        LISTING.clone_into(&mut stage.0);
        let listed = list(binary, given_up).await?;
        let mut target = None;
        if listed.contains(&Accel::TCG) {
            "`query-target` was running".clone_into(&mut stage.0);
            target = trial::target(binary, given_up).await;
        }
        let runs_x86 = |target: &str| matches!(target, "x86_64" | "i386");
        let untried = target
            .filter(|target| !runs_x86(target))
            .map(|target| AccelFinding::NotTried { target });
        let mut tcg = None;
        let mut find = async |accel: &Accel, limit: Duration| {
            stage.0 = format!("the tiny guest was running with {accel}");
            match (&untried, accel.permitted()) {
                // The findings of a probe that was given up are not kept.
                _ if given_up.is_requested() => AccelFinding::RunsNoGuest,
                _ if *accel == Accel::QTEST => AccelFinding::RunsNoGuest,
                (_, Err(denial)) => AccelFinding::Denied(denial),
                (Some(untried), Ok(())) => untried.clone(),
                (None, Ok(())) => trial::run(binary, accel, limit, given_up).await,
            }
        };
        if listed.contains(&Accel::TCG) {
            tcg = Some(find(&Accel::TCG, trial::TCG_TIME_LIMIT).await);
        }
        let limit = trial::time_limit(tcg.as_ref());
        let mut findings = Vec::new();
        for accel in listed {
            let finding = match &tcg {
                Some(finding) if accel == Accel::TCG => finding.clone(),
                _ => find(&accel, limit).await,
            };
            findings.push((accel, finding));
        }
        if given_up.is_requested() {
            return Err(self.cancelled());
        }
        Ok(findings.into())
    }

    fn cancelled(&self) -> AccelError {
        AccelError::Cancelled {
            binary: self.binary.clone(),
        }
    }
}

const LISTING: &str = "`-accel help` was running";

const DEFAULT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));
