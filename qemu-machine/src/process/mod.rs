//! QEMU as a process: its start, with an exact environment and descriptors, and
//! the wait for its end.

pub(crate) mod blocking;
pub(crate) mod digest;
mod group;
pub(crate) mod guardian;
pub(crate) mod place;
pub(crate) mod runtime_dir;
pub(crate) mod space;
pub(crate) mod sparse;
pub(crate) mod stamp;
pub(crate) mod survivors;

use crate::life::SurvivorOutcome;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qemu_qmp_engine::{self as engine, Engine};

use self::guardian::Entry;
use crate::life::ExitStatus;
use crate::process::survivors::{Candidate, Lifelines, Search, Stat, SurvivorList};
use crate::sys::{self, Ended, Image, NotSpawned, Spawned, Step};

/// A started process, the leader of its process group. If it is dropped before
/// it was reaped, it is killed with its group, and reaped when the program
/// ends.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    pidfd: OwnedFd,
    lifelines: Lifelines,
    reap_state: Mutex<ReapState>,
}

/// What was done to a process. Locked while its group gets a signal, and while
/// it is reaped: until then, nothing else has the id of the group.
#[derive(Debug, Default)]
struct ReapState {
    /// Its line in the list of the guardian, until it is reaped.
    entry: Option<Entry>,
    /// When a caller killed it without the supervisor.
    killed_unsupervised: Option<Instant>,
    /// Whether its group got SIGKILL while the process still ran.
    is_killed: bool,
    /// The processes that outlived it.
    survivors: SurvivorList,
    /// Set when it is reaped.
    status: Option<ExitStatus>,
}

/// What a process is started with.
pub(crate) struct Start<'a> {
    /// The program and its arguments.
    pub(crate) words: &'a [OsString],
    /// Changes to the environment of this process; `None` removes a variable.
    pub(crate) environment: &'a [(OsString, Option<OsString>)],
    pub(crate) directory: Option<&'a Path>,
    /// The descriptors 0, 1, 2, … of the process. It has no others.
    pub(crate) descriptors: &'a [BorrowedFd<'a>],
}

/// Why a process was not started.
#[derive(Debug)]
pub(crate) enum StartError {
    NotFound { program: OsString },
    NotExecutable { program: PathBuf, cause: io::Error },
    Nul { word: OsString },
    Arguments { cause: io::Error },
    Directory { cause: io::Error },
    Resources { cause: io::Error },
}

impl Process {
    /// Starts a process. Call it only on the thread of the engine: the kernel
    /// kills the process when the thread that started it ends.
    pub(crate) fn start(
        engine: &'static Engine,
        start: &Start<'_>,
        lifelines: Lifelines,
    ) -> Result<Self, StartError> {
        let environment = environment(start.environment);
        let path = environment.iter().find(|(name, _)| name == "PATH");
        let path = path.map_or(OsStr::new(""), |(_, path)| path);
        let program = find(&start.words[0], path)?;
        // The child changes its directory before it opens the program.
        let absolute = std::path::absolute(&program).unwrap_or_else(|_| program.clone());
        let image = c_string(absolute.as_os_str())?;
        let arguments = start.words.iter().map(|word| c_string(word));
        let arguments: Vec<CString> = arguments.collect::<Result<_, _>>()?;
        let environment = environment.iter().map(|(key, value)| {
            let words = [key, OsStr::new("="), value];
            c_string(&words.into_iter().collect::<OsString>())
        });
        let environment: Vec<CString> = environment.collect::<Result<_, _>>()?;
        let directory = start
            .directory
            .map(|path| c_string(path.as_os_str()))
            .transpose()?;
        let descriptors: Vec<i32> = start.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let entry = guardian::enter(engine, lifelines.for_guardian());
        let entry = entry.map_err(|cause| StartError::Resources { cause })?;
        let started = sys::spawn(&Image {
            program: &image,
            arguments: &arguments,
            environment: &environment,
            directory: directory.as_ref(),
            descriptors: &descriptors,
            group_slot: entry.as_ref().map(Entry::slot),
            dies_with_us: true,
        });
        let Spawned { pid, pidfd, .. } = match started {
            Ok(spawned) => {
                if let Some(entry) = &entry {
                    entry.complete(&spawned);
                }
                spawned
            }
            Err(NotSpawned { step, cause, child }) => {
                entry.into_iter().for_each(Entry::dismiss);
                if let Some(child) = child {
                    sys::reap_failed(&child);
                }
                return Err(not_started(step, cause, program));
            }
        };
        Ok(Self {
            pid,
            pidfd,
            lifelines,
            reap_state: Mutex::new(ReapState {
                entry,
                ..ReapState::default()
            }),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the process has ended. Runs on the engine.
    pub(crate) async fn ended(&self) {
        ended(&self.pidfd).await;
    }

    /// Whether the process has ended by now.
    pub(crate) fn has_ended(&self) -> bool {
        sys::has_ended(&self.pidfd)
    }

    /// Kills what outlives the ended process, and takes the exit status. That
    /// is the rest of its group, and processes that left the group and have a
    /// channel open. Waits up to 10 s for their end. Runs on the engine.
    pub(crate) async fn end(&self) -> (ExitStatus, SurvivorList) {
        self.end_survivors().await;
        let status = self.reap();
        group::gone(self.pid).await;
        (status, std::mem::take(&mut self.reap_state().survivors))
    }

    /// If this process adopts orphans, it reaps those that it killed. So this
    /// comes before [`reap`](Self::reap), which frees the id of the group.
    async fn end_survivors(&self) {
        let deadline = Instant::now() + SURVIVORS_LIMIT;
        for _ in 0..PASSES {
            let Some(mut search) = self.search() else {
                return;
            };
            while search.step(PROCESSES_A_TURN) {
                engine::yield_now().await;
            }
            let killed = self.kill_survivors(search);
            if killed.is_empty() {
                return;
            }
            for survivor in &killed {
                let limit = deadline.saturating_duration_since(Instant::now());
                let end = engine::readable(survivor.pidfd.as_fd());
                // If it cannot be watched, it is checked below.
                let _ = engine::timeout(Some(limit), end).await;
            }
            self.reap_adopted(&killed);
        }
    }

    /// Does the same as [`end`](Self::end) from any thread, for a caller that
    /// cannot wait for the supervisor. The supervisor reports the survivors
    /// later.
    pub(crate) fn end_by(&self, deadline: Instant) {
        self.end_survivors_by(deadline);
        self.reap();
        group::gone_by(self.pid, deadline);
    }

    fn end_survivors_by(&self, deadline: Instant) {
        for _ in 0..PASSES {
            let Some(mut search) = self.search() else {
                return;
            };
            while search.step(PROCESSES_A_TURN) {}
            let killed = self.kill_survivors(search);
            if killed.is_empty() {
                return;
            }
            for survivor in &killed {
                let limit = deadline.saturating_duration_since(Instant::now());
                sys::ends_within(&survivor.pidfd, limit);
            }
            self.reap_adopted(&killed);
        }
    }

    /// Starts a search, if there may be something to find. Otherwise only kills
    /// the group.
    fn search(&self) -> Option<Search<'_>> {
        let adopts = sys::adopts_orphans();
        let is_held = self.lifelines.is_held();
        let state = self.reap_state();
        // If a process was left, the search comes before the signal.
        if !is_held {
            state.signal(self.pid, libc::SIGKILL);
        }
        let whole_group = adopts && state.status.is_none();
        drop(state);
        (is_held || whole_group).then(|| Search::new(&self.lifelines, self.pid, whole_group))
    }

    /// Kills what a search found. Returns the processes whose end is to be
    /// awaited.
    fn kill_survivors(&self, search: Search<'_>) -> Vec<Candidate> {
        let found = search.into_candidates();
        let mut state = self.reap_state();
        // Until the leader is reaped, no other group has its id.
        let group_is_ours = state.status.is_none();
        state.signal(self.pid, libc::SIGKILL);
        let is_held = found.all.iter().any(|it| it.holds) || found.by_forks;
        if !is_held && self.lifelines.is_held() {
            state.survivors.unseen = true;
        }
        let mut killed = Vec::new();
        for survivor in found.all {
            if !survivor.holds {
                if group_is_ours {
                    killed.push(survivor);
                }
                continue;
            }
            let sent = sys::signal_process(&survivor.pidfd, libc::SIGKILL);
            let denied = sent.is_err_and(|error| error.raw_os_error() == Some(libc::EPERM));
            let was_killed_before = state.is_killed && survivor.in_group;
            if denied {
                state
                    .survivors
                    .add(&survivor, SurvivorOutcome::NotPermitted);
                continue;
            }
            if !survivor.is_ending && !was_killed_before {
                state.survivors.add(&survivor, SurvivorOutcome::Killed);
            }
            killed.push(survivor);
        }
        killed
    }

    /// Reaps the killed and adopted processes. A parent may end later than its
    /// child, so this comes after the end of all.
    fn reap_adopted(&self, killed: &[Candidate]) {
        let adopts = sys::adopts_orphans();
        for survivor in killed {
            if !sys::ends_within(&survivor.pidfd, Duration::ZERO) {
                self.reap_state().survivors.lives(survivor);
            } else if adopts {
                sys::reap(&survivor.pidfd);
            }
        }
    }

    /// Takes the status of the ended process, and kills the rest of its group.
    /// Later calls only return the status.
    fn reap(&self) -> ExitStatus {
        let mut state = self.reap_state();
        if let Some(status) = state.status {
            return status;
        }
        sys::signal_group(self.pid, libc::SIGKILL);
        state.entry.take().into_iter().for_each(Entry::dismiss);
        let status = match sys::reap(&self.pidfd) {
            Some(Ended::Exited(code)) => ExitStatus::Code(code),
            Some(Ended::Signaled {
                signal,
                core_dumped,
            }) => ExitStatus::Signal {
                signal,
                core_dumped,
            },
            None => ExitStatus::Unknown,
        };
        state.status = Some(status);
        status
    }

    /// Asks every process of the group to end (SIGTERM).
    pub(crate) fn terminate(&self) {
        self.reap_state().signal(self.pid, libc::SIGTERM);
    }

    /// Kills every process of the group, and the process itself, which may be
    /// in another group.
    pub(crate) fn kill(&self) {
        self.kill_all(&mut self.reap_state());
    }

    /// Does the same from any thread, for a caller that cannot wait for the
    /// supervisor. An ended process is not touched. `now` is the time that the
    /// supervisor reports.
    pub(crate) fn kill_unsupervised(&self, now: Instant) {
        let mut state = self.reap_state();
        if state.status.is_none() && !self.has_ended() {
            self.kill_all(&mut state);
            state.killed_unsupervised.get_or_insert(now);
        }
    }

    fn kill_all(&self, state: &mut ReapState) {
        state.signal(self.pid, libc::SIGKILL);
        if state.status.is_none() {
            state.is_killed = true;
            // It fails only if there is nothing to kill.
            let _ = sys::signal_process(&self.pidfd, libc::SIGKILL);
        }
    }

    /// When it was killed without its supervisor, if it was.
    pub(crate) fn killed_unsupervised(&self) -> Option<Instant> {
        self.reap_state().killed_unsupervised
    }

    fn reap_state(&self) -> MutexGuard<'_, ReapState> {
        self.reap_state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the process is ending, even if it cannot be reaped yet: it
    /// closes its descriptors shortly before.
    pub(crate) fn is_ending(&self) -> bool {
        // If `/proc` cannot be read, for lack of descriptors, only the end
        // itself is known.
        Stat::of(self.pid).map_or_else(|| self.has_ended(), |stat| stat.is_ending)
    }
}

impl ReapState {
    fn signal(&self, group: u32, signal: i32) {
        if self.status.is_none() {
            sys::signal_group(group, signal);
        }
    }
}

/// Waits until a child has ended, and its status can be taken. Runs on the
/// engine.
pub(crate) async fn ended(pidfd: &OwnedFd) {
    let _ = engine::readable(pidfd.as_fd()).await;
    // The kernel had no memory or no watch left. Or another process traces the
    // child, and gets its end first. Then only time helps.
    while !sys::has_ended(pidfd) {
        engine::pause(UNWATCHED).await;
    }
}

/// Waits until a process that may be no child has ended.
pub(crate) async fn another_ended(pidfd: &OwnedFd) {
    let _ = engine::readable(pidfd.as_fd()).await;
    // As in `ended`.
    while !sys::ends_within(pidfd, Duration::ZERO) {
        engine::pause(UNWATCHED).await;
    }
}

/// The delay of a report of the end, if the process is traced or cannot be
/// watched.
const UNWATCHED: Duration = Duration::from_millis(10);

/// How long killed survivors may take to end, while the kernel frees their
/// memory.
const SURVIVORS_LIMIT: Duration = Duration::from_secs(10);

/// How often to search: a process may fork while it is being killed.
const PASSES: usize = 5;

/// How many processes to check before the engine does something else.
const PROCESSES_A_TURN: usize = 16;

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn c_string(word: &OsStr) -> Result<CString, StartError> {
    CString::new(word.as_bytes()).map_err(|_| StartError::Nul {
        word: word.to_owned(),
    })
}

fn not_started(step: Step, cause: io::Error, program: PathBuf) -> StartError {
    match step {
        Step::Exec if cause.kind() == io::ErrorKind::ArgumentListTooLong => {
            StartError::Arguments { cause }
        }
        Step::Exec => StartError::NotExecutable { program, cause },
        Step::Directory => StartError::Directory { cause },
        Step::Fork | Step::Descriptors => StartError::Resources { cause },
    }
}

fn environment(changes: &[(OsString, Option<OsString>)]) -> Vec<(OsString, OsString)> {
    let mut environment: Vec<_> = std::env::vars_os().collect();
    for (name, value) in changes {
        environment.retain(|(other, _)| other != name);
        if let Some(value) = value {
            environment.push((name.clone(), value.clone()));
        }
    }
    environment
}

/// Finds a program like a shell does.
pub(crate) fn find(program: &OsStr, path: &OsStr) -> Result<PathBuf, StartError> {
    if program.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(program));
    }
    let is_program = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    std::env::split_paths(path)
        .map(|directory| directory.join(program))
        .find(is_program)
        .ok_or_else(|| StartError::NotFound {
            program: program.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_as_a_shell_finds_it() {
        let path = OsStr::new("/nonexistent:/etc:/bin");
        assert_eq!(find(OsStr::new("sh"), path).unwrap(), Path::new("/bin/sh"));
        assert_eq!(find(OsStr::new("./sh"), path).unwrap(), Path::new("./sh"));
        // A file that is not executable is skipped.
        assert!(matches!(
            find(OsStr::new("passwd"), OsStr::new("/etc")),
            Err(StartError::NotFound { .. })
        ));
        assert!(matches!(
            find(OsStr::new(""), path),
            Err(StartError::NotFound { .. })
        ));
    }
}
