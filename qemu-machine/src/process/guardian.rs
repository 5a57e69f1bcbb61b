//! The guardian: a process that outlives this one just long enough to kill what
//! its machines left.
//!
//! The kernel kills the started process when this process dies, for any reason.
//! It does not kill what that process forked. It also does not kill a process
//! that cleared the parent-death signal, as a program with its own capabilities
//! does.
//!
//! So the first launch starts a shell that waits for the end of a socket. The
//! socket ends when this process dies or becomes another program. Then the
//! guardian kills the process groups in a list, and ends. The list is a file in
//! memory with one line for each group, so a write to it wakes nothing. A
//! process that left its group is found by a socket that each machine has from
//! its start; the number of the socket is in the line (see `survivors`).
//!
//! The guardian is not a child of this process, so a wait for all children
//! waits only for machines.
//!
//! Never misses a group: each writes its line before it becomes its program.
//! Never lists a group that is gone: its line is blanked before the leader is
//! reaped, while the id of the group is still taken.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qemu_qmp_engine::{self as engine, Engine};

use crate::process;
use crate::process::survivors::{self, Ends};
use crate::sys::{self, BLANK_LINE, GroupLine, GroupSlot, Image, NotSpawned, Spawned, Step};

/// The line of a group. A dropped entry stays in the list.
#[derive(Debug)]
pub(crate) struct Entry {
    list: Arc<File>,
    line: usize,
    /// The process that owns the list. A fork without exec has a copy of this.
    process: u32,
}

/// Reserves a line for a new group, which gets this end of a socket pair.
/// Returns `None` if this system cannot run a guardian. Call it only on the
/// thread of the engine.
pub(crate) fn enter(engine: &'static Engine, ends: Option<&Ends>) -> io::Result<Option<Entry>> {
    let mut state = lock();
    state.ensure_guardian(engine)?;
    let Some(list) = state.list.clone() else {
        return Ok(None);
    };
    let line = state.free.pop().unwrap_or(state.lines);
    let entry = Entry {
        list,
        line,
        process: state.process,
    };
    // Allocates the line now, while an error can still be reported.
    let written = entry.write(&BLANK_LINE).and_then(|()| {
        let (theirs, ours) = ends.map_or((0, 0), |ends| (ends.theirs, ends.ours));
        let numbers = format!("{theirs:20} {ours:20} ");
        entry.list.write_all_at(numbers.as_bytes(), entry.start())
    });
    if let Err(error) = written {
        state.free.push(line);
        return Err(error);
    }
    state.lines = state.lines.max(line + 1);
    Ok(Some(entry))
}

impl Entry {
    /// Where the child writes its group.
    pub(crate) fn slot(&self) -> GroupSlot<'_> {
        GroupSlot {
            list: self.list.as_fd(),
            offset: self.offset(),
        }
    }

    /// Writes the line of a started group, if its leader did not.
    pub(crate) fn complete(&self, spawned: &Spawned) {
        if !spawned.is_listed
            && let Err(error) = self.write(&sys::group_line(spawned.pid))
        {
            let group = spawned.pid;
            warn(|| {
                format!(
                    "children of process {group} will outlive this process, if it dies: {error}"
                )
            });
        }
    }

    /// Blanks the line of a killed group whose leader is not reaped yet, or of
    /// a group that never started.
    pub(crate) fn dismiss(self) {
        if self.process == std::process::id() && self.write(&BLANK_LINE).is_ok() {
            lock().free.push(self.line);
        }
    }

    fn write(&self, line: &GroupLine) -> io::Result<()> {
        self.list.write_all_at(line, self.offset())
    }

    /// The offset of the group, after the numbers of the sockets.
    fn offset(&self) -> u64 {
        self.start() + NUMBERS_BYTES
    }

    fn start(&self) -> u64 {
        self.line as u64 * (NUMBERS_BYTES + size_of::<GroupLine>() as u64)
    }
}

/// The end of the socket of the guardian in this process.
type Guardian = Arc<UnixStream>;

/// The guardian and its list.
struct GuardianState {
    /// The process that owns the guardian.
    process: u32,
    guardian: Option<Guardian>,
    /// A later guardian uses the same list.
    list: Option<Arc<File>>,
    /// The number of lines in the list.
    lines: usize,
    /// The blank lines.
    free: Vec<usize>,
    /// This system cannot run a guardian.
    is_impossible: bool,
}

impl GuardianState {
    const fn empty() -> Self {
        Self {
            process: 0,
            guardian: None,
            list: None,
            lines: 0,
            free: Vec::new(),
            is_impossible: false,
        }
    }

    /// Starts a guardian, if there is none.
    fn ensure_guardian(&mut self, engine: &'static Engine) -> io::Result<()> {
        if self.process != std::process::id() {
            // A fork without exec has a copy of the state of its parent, and
            // must not touch it: the fork closed its descriptor.
            std::mem::forget(std::mem::replace(self, Self::empty()));
            self.process = std::process::id();
        }
        if self.guardian.is_some() || self.is_impossible {
            return Ok(());
        }
        let list = match &self.list {
            Some(list) => Arc::clone(list),
            None => match sys::memory_file(c"qemu-machine-groups") {
                Ok(list) => Arc::new(list),
                Err(cause) if is_denied(&cause) => {
                    self.give_up("a file in memory", &cause);
                    return Ok(());
                }
                Err(cause) => return Err(cause),
            },
        };
        match start(engine, &list) {
            Ok(guardian) => {
                sys::close_in_forks(&*guardian);
                self.guardian = Some(guardian);
                self.list = Some(list);
            }
            Err((Step::Exec, cause)) if is_denied(&cause) => self.give_up("/bin/sh", &cause),
            Err((_, cause)) => return Err(cause),
        }
        Ok(())
    }

    fn give_up(&mut self, missing: &str, cause: &io::Error) {
        self.is_impossible = true;
        warn(|| {
            format!(
                "children of a machine will outlive this process, if it dies: no {missing}: {cause}"
            )
        });
    }
}

static STATE: Mutex<GuardianState> = Mutex::new(GuardianState::empty());

fn lock() -> MutexGuard<'static, GuardianState> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a shell that forks the guardian and exits.
fn start(engine: &'static Engine, list: &File) -> Result<Guardian, (Step, io::Error)> {
    let before = |cause| (Step::Descriptors, cause);
    let (ours, theirs) = UnixStream::pair().map_err(before)?;
    let null = File::options().read(true).write(true).open("/dev/null");
    let null = null.map_err(before)?;
    let null = null.as_raw_fd();
    let strings = |words: &[&str]| -> Vec<CString> {
        words
            .iter()
            .map(|&word| CString::new(word))
            .collect::<Result<_, _>>()
            .unwrap_or_default()
    };
    // To find `ls`.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = CString::new([b"PATH=", path.as_bytes()].concat()).unwrap_or_default();
    let started = sys::spawn(&Image {
        program: &strings(&["/bin/sh"])[0],
        arguments: &strings(&["sh", "-c", SCRIPT, "qemu-machine-guardian"]),
        environment: &[path],
        directory: Some(&strings(&["/"])[0]),
        descriptors: &[null, null, null, theirs.as_raw_fd(), list.as_raw_fd()],
        group_slot: None,
        // Otherwise the shell could be killed before it forks the guardian, if
        // this process dies then.
        dies_with_us: false,
    });
    let Spawned { pid, pidfd, .. } = match started {
        Ok(shell) => shell,
        Err(NotSpawned { step, cause, child }) => {
            if let Some(child) = child {
                sys::reap_failed(&child);
            }
            return Err((step, cause));
        }
    };
    engine.spawn(async move {
        process::ended(&pidfd).await;
        sys::reap(&pidfd);
    });
    let ours = Arc::new(ours);
    engine.spawn(attend(engine, Arc::clone(&ours), pid));
    Ok(ours)
}

/// Whether the error is permanent.
fn is_denied(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    )
}

/// Waits until the guardian dies, starts another, and reaps the dead one if
/// this process adopted it. The guardian is in the group of the shell that
/// started it.
async fn attend(engine: &'static Engine, guardian: Guardian, group: u32) {
    let started = Instant::now();
    // The guardian sends nothing: the only input is its end.
    while let Err(error) = engine::readable(guardian.as_fd()).await {
        warn(|| format!("cannot watch the guardian, will try again: {error}"));
        engine::pause(RETRY).await;
    }
    forget(&guardian);
    warn(|| "the guardian died: starting another".to_owned());
    if started.elapsed() < RETRY {
        // A guardian that dies at once is not started in a loop.
        engine::pause(RETRY).await;
    }
    while let Err(error) = restart(engine) {
        warn(|| format!("cannot start a guardian, will try again: {error}"));
        engine::pause(RETRY).await;
    }
    if sys::adopts_orphans() {
        // Until it is reaped, no other group has this id.
        for pidfd in survivors::group(group) {
            process::ended(&pidfd).await;
            sys::reap(&pidfd);
        }
    }
}

fn restart(engine: &'static Engine) -> io::Result<()> {
    lock().ensure_guardian(engine)
}

/// Forgets a dead guardian.
fn forget(guardian: &Guardian) {
    let mut state = lock();
    let current = state.guardian.as_ref();
    if current.is_some_and(|current| Arc::ptr_eq(current, guardian)) {
        sys::leave_to_forks(&**guardian);
        state.guardian = None;
    }
}

fn warn(words: impl FnOnce() -> String) {
    engine::log(log::Level::Warn, module_path!(), words);
}

/// The guardian ignores signals for everything on the same terminal or in the
/// same service: they must not end it too early.
///
/// A process with the end of the machine is killed, unless it also has our end:
/// then it is a fork of the dead process. It is checked again just before the
/// signal, as another process may have its id by then. All are checked again
/// after that, as it may have forked.
const SCRIPT: &str = r#"{
    trap '' HUP INT QUIT TERM
    while read -r _; do :; done
    theirs= ours=
    while read -r their our group; do
        case $group in
        [0-9]*)
            kill -s KILL -- "-$group"
            theirs="$theirs socket:[$their] " ours="$ours socket:[$our] "
            ;;
        esac
    done <&4
    is_left() {
        held=
        for end in $(ls -ln "/proc/$1/fd"); do
            case $ours in *" $end "*) return 1 ;; esac
            case $theirs in *" $end "*) held=1 ;; esac
        done
        [ "$held" ]
    }
    for pass in 1 2 3 4 5; do
        [ "$theirs" ] || break
        found=
        set +f
        set -- /proc/[0-9]*/fd
        set -f
        for word in $(ls -ln "$@"); do
            case $word in
            /proc/*/fd:) process=${word#/proc/} process=${process%/fd:} ;;
            socket:*)
                case $theirs in
                *" $word "*) is_left "$process" && kill -s KILL "$process" && found=1 ;;
                esac
                ;;
            esac
        done
        [ "$found" ] || break
    done
} <&3 3<&- &"#;

/// The bytes of the numbers of both ends of a socket pair, before a group.
const NUMBERS_BYTES: u64 = 42;

/// The pause before a retry: a lack of resources does not report its end.
const RETRY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_group_from_its_start_to_its_end() {
        let entry = enter(Engine::start().unwrap(), None).unwrap().unwrap();
        let (list, offset) = (Arc::clone(&entry.list), entry.offset());
        let line = || {
            let mut line = BLANK_LINE;
            list.read_exact_at(&mut line, offset).unwrap();
            line
        };
        assert_eq!(line(), BLANK_LINE);
        let spawned = |is_listed| Spawned {
            pid: 4711,
            pidfd: File::open("/dev/null").unwrap().into(),
            is_listed,
        };
        entry.complete(&spawned(true));
        assert_eq!(line(), BLANK_LINE);
        entry.complete(&spawned(false));
        assert_eq!(line(), *b"000004711\n");
        entry.dismiss();
        assert_eq!(line(), BLANK_LINE);
    }
}
