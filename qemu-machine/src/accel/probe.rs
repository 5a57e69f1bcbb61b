//! The operations: what is listed, what each is worth, which is best.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use qemu_qmp_engine::error_text::Quoted;
use qemu_qmp_engine::{self as engine, Elapsed, Engine, operation, timeout_option};

use super::cache::{self, Findings, Subject};
use super::trial::{self, NotListed};
use super::{Accel, AccelChoice, AccelFinding, AccelReport};
use crate::ExitReport;
use crate::launch::LaunchError;

/// Asks a binary which accelerators it has; made by [`Accel::listed`].
///
/// # Errors
/// Each variant of [`AccelError`] says when.
///
/// # Cancel safety
/// If the future is dropped, QEMU is ended in the background.
#[derive(Debug)]
#[must_use = "nothing is asked until awaited or waited for"]
pub struct AccelList {
    binary: OsString,
    timeout: Option<Duration>,
}

/// Finds out what each accelerator of a binary is worth; made by
/// [`Accel::probe`].
///
/// TCG is tried first. Any other one is then given three times as long as that
/// took, and a second: so a whole probe takes some two seconds at the most on a
/// host that is not busy, and half a second where each one is denied or works.
///
/// What came of it is kept until the host boots or the binary's file is another
/// one (of a script that starts QEMU, that is the script): in this process, and
/// for others in the user's cache (`$XDG_CACHE_HOME/qemu-machine`, else
/// `~/.cache/qemu-machine`). Then only the host is asked whether it permits what
/// there is, which takes well under a millisecond. A trial that failed is not
/// kept. Whoever asks while a probe of the same binary is under way shares what
/// comes of it.
///
/// # Errors
/// Each variant of [`AccelError`] says when. That no accelerator works is not
/// one.
///
/// # Cancel safety
/// If the future is dropped, its machines are ended in the background. Another
/// that has waited for what it would find goes on by a probe of its own.
#[derive(Debug)]
#[must_use = "nothing is tried until awaited or waited for"]
pub struct AccelProbe {
    binary: OsString,
    timeout: Option<Duration>,
    anew: bool,
    folder: Option<PathBuf>,
}

/// Finds the best accelerator of a binary; made by [`Accel::best`]. What is
/// said of [`AccelProbe`] holds for it too.
///
/// # Errors
/// Each variant of [`BestAccelError`] says when.
#[derive(Debug)]
#[must_use = "nothing is tried until awaited or waited for"]
pub struct BestAccel {
    probe: AccelProbe,
}

/// It is not known which accelerators a binary has, or what they are worth.
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
    /// The binary ended without a list of accelerators: it may be no QEMU.
    NotListed {
        /// The binary, as it was given.
        binary: OsString,
        /// How it ended, and what it printed.
        report: Arc<ExitReport>,
    },
    /// It was not known in time.
    Timeout {
        /// The binary, as it was given.
        binary: OsString,
        /// The deadline.
        limit: Duration,
        /// What was still to come.
        waited_for: String,
    },
    /// This process has no thread left for the engine.
    Resources {
        /// What the system says.
        cause: Arc<std::io::Error>,
    },
}

impl fmt::Display for AccelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Launch { binary, cause } => write!(
                f,
                "{} could not be asked for its accelerators: {cause}",
                Quoted(binary.display())
            ),
            Self::NotListed { binary, report } => write!(
                f,
                "{} does not say which accelerators it has (`-accel help`): {report}",
                Quoted(binary.display())
            ),
            Self::Timeout {
                binary,
                limit,
                waited_for,
            } => write!(
                f,
                "the accelerators of {} were not known within {limit:?}: {waited_for}",
                Quoted(binary.display())
            ),
            Self::Resources { cause } => write!(f, "cannot start a thread: {cause}"),
        }
    }
}

impl Error for AccelError {}

/// There is no best accelerator.
#[derive(Clone)]
#[non_exhaustive]
pub enum BestAccelError {
    /// It is not known which there are.
    Probe(AccelError),
    /// None of those that the binary lists runs a guest here.
    NoneWorks(AccelReport),
}

impl fmt::Display for BestAccelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Probe(cause) => write!(f, "{cause}"),
            Self::NoneWorks(report) => write!(f, "no accelerator runs a guest here; {report}"),
        }
    }
}

impl Error for BestAccelError {}

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
        within(timeout, &binary, async |_| list(&binary).await).await
    }
}

impl AccelProbe {
    pub(super) fn new(binary: OsString) -> Self {
        Self {
            binary,
            timeout: DEFAULT_TIMEOUT,
            anew: false,
            folder: None,
        }
    }

    /// Tries every accelerator now, whatever is kept of before.
    pub fn anew(mut self) -> Self {
        self.anew = true;
        self
    }

    /// Keeps what is found for other processes in this folder, instead of in
    /// the user's cache. It is made if it is not there.
    pub fn cache_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.folder = Some(path.into());
        self
    }
}

timeout_option!(AccelProbe, timeout);

operation!(AccelProbe => Result<AccelReport, AccelError>);

impl AccelProbe {
    async fn run(self) -> Result<AccelReport, AccelError> {
        let findings = within(self.timeout, &self.binary, async |stage| {
            self.findings(stage).await
        });
        let findings = findings.await?;
        Ok(AccelReport::new(self.binary, findings))
    }
}

impl BestAccel {
    pub(super) fn new(binary: OsString) -> Self {
        Self {
            probe: AccelProbe::new(binary),
        }
    }

    /// As [`AccelProbe::anew`].
    pub fn anew(self) -> Self {
        let probe = self.probe.anew();
        Self { probe }
    }

    /// As [`AccelProbe::cache_dir`].
    pub fn cache_dir(self, path: impl Into<PathBuf>) -> Self {
        let probe = self.probe.cache_dir(path);
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

/// What is being done, for who has no time to see it done.
struct Stage(String);

/// Does it within this time.
async fn within<T>(
    timeout: Option<Duration>,
    binary: &OsStr,
    work: impl AsyncFnOnce(&mut Stage) -> Result<T, AccelError>,
) -> Result<T, AccelError> {
    // Before the first deadline, which it keeps.
    Engine::start().map_err(|cause| AccelError::Resources {
        cause: Arc::new(cause),
    })?;
    let mut stage = Stage("its list was waited for".to_owned());
    match engine::timeout(timeout, work(&mut stage)).await {
        Ok(result) => result,
        Err(Elapsed(limit)) => Err(AccelError::Timeout {
            binary: binary.to_owned(),
            limit,
            waited_for: stage.0,
        }),
    }
}

async fn list(binary: &OsStr) -> Result<Vec<Accel>, AccelError> {
    let listed = trial::list(binary).await;
    let binary = binary.to_owned();
    listed.map_err(|error| match error {
        NotListed::Launch(cause) => AccelError::Launch {
            binary,
            cause: Arc::new(cause),
        },
        NotListed::Exit(report) => AccelError::NotListed { binary, report },
        NotListed::Endless(limit) => AccelError::Timeout {
            binary,
            limit,
            waited_for: "it lists them, and does not end".to_owned(),
        },
    })
}

impl AccelProbe {
    /// What is known, or what a probe finds.
    async fn findings(&self, stage: &mut Stage) -> Result<Findings, AccelError> {
        let Some(subject) = Subject::of(&self.binary) else {
            return self.find(stage).await;
        };
        let place = subject.place();
        let probes_before = place.probes.load(Ordering::Acquire);
        "another probe of it was waited for".clone_into(&mut stage.0);
        let mut last = place.last.lock().await;
        let at_once = place.probes.load(Ordering::Acquire) != probes_before;
        let folder = self.folder.clone().or_else(cache::user_folder);
        if !self.anew || at_once {
            let on_disk = || cache::read(folder.as_deref()?, &subject);
            let before = last.clone().or_else(on_disk);
            let renewed = before
                .as_ref()
                .and_then(|findings| cache::renew(findings, at_once, Accel::permitted));
            if let Some(findings) = renewed {
                *last = before;
                return Ok(findings);
            }
        }
        let found = self.find(stage).await?;
        *last = Some(Arc::clone(&found));
        place.probes.fetch_add(1, Ordering::Release);
        if let Some(folder) = folder {
            cache::write(&folder, &subject, &found);
        }
        Ok(found)
    }

    /// Asks and tries. TCG comes first, by which the others are given time.
    async fn find(&self, stage: &mut Stage) -> Result<Findings, AccelError> {
        let binary = &self.binary;
        "its list was waited for".clone_into(&mut stage.0);
        let listed = list(binary).await?;
        let mut target = None;
        if listed.contains(&Accel::TCG) {
            "what it emulates was asked for".clone_into(&mut stage.0);
            target = trial::target(binary).await;
        }
        let runs_x86 = |target: &str| matches!(target, "x86_64" | "i386");
        let untried = target
            .filter(|target| !runs_x86(target))
            .map(|target| AccelFinding::Untried { target });
        let mut tcg = None;
        let mut find = async |accel: &Accel, limit: Duration| {
            stage.0 = format!("the tiny guest was tried with {accel}");
            match (&untried, accel.permitted()) {
                _ if *accel == Accel::QTEST => AccelFinding::RunsNoGuest,
                (_, Err(denial)) => AccelFinding::Denied(denial),
                (Some(untried), Ok(())) => untried.clone(),
                (None, Ok(())) => trial::run(binary, accel, limit).await,
            }
        };
        if listed.contains(&Accel::TCG) {
            tcg = Some(find(&Accel::TCG, trial::TIME_OF_TCG).await);
        }
        let limit = trial::time_beside(tcg.as_ref());
        let mut findings = Vec::new();
        for accel in listed {
            let finding = match &tcg {
                Some(finding) if accel == Accel::TCG => finding.clone(),
                _ => find(&accel, limit).await,
            };
            findings.push((accel, finding));
        }
        Ok(findings.into())
    }
}

const DEFAULT_TIMEOUT: Option<Duration> = Some(Duration::from_secs(30));
