//! The guardian: a process that outlives this one for just as long as it takes
//! to kill what its machines have left.
//!
//! The kernel kills the process that we started when we die, however we die;
//! but not what that one forked, nor one that has cleared the wish, as a
//! program with capabilities of its own does. So the first launch starts a
//! shell that waits for the end of a socket: that ends when this process does,
//! or becomes another program. Then the guardian kills the process groups that
//! are on a list, and ends. The list is a file in memory, a line for each
//! group, so that to write on it wakes nobody. What has left its group is found
//! by a socket that each machine has from its start, whose number is in its line
//! (see `survivors`).
//!
//! It is no child of ours: whoever waits for all children waits for machines
//! alone.
//!
//! Never is there a group that is not listed: each enters itself before it
//! becomes its program. Never is one listed that has gone: its line is blanked
//! while the leader, not reaped yet, still holds the group's id.

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

/// The line of a group that is to be, or is. Dropped, it stays on the list.
#[derive(Debug)]
pub(crate) struct Entry {
    list: Arc<File>,
    line: usize,
    /// Whose list it is: a fork without exec has a copy of this.
    process: u32,
}

/// A line for a group that is about to be started, and gets this end of a
/// socket pair; `None` where there is no
/// guardian, as this system has nothing to make one of. To be called on the
/// engine's thread alone.
pub(crate) fn enter(engine: &'static Engine, ends: Option<&Ends>) -> io::Result<Option<Entry>> {
    let mut state = lock();
    state.call(engine)?;
    let Some(list) = state.list.clone() else {
        return Ok(None);
    };
    let line = state.free.pop().unwrap_or(state.lines);
    let entry = Entry {
        list,
        line,
        process: state.process,
    };
    // What takes memory is done now, while this can be told.
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
    /// By what the child enters itself.
    pub(crate) fn slot(&self) -> GroupSlot<'_> {
        GroupSlot {
            list: self.list.as_fd(),
            offset: self.offset(),
        }
    }

    /// Enters a group that has been started, where its leader has not done so.
    pub(crate) fn complete(&self, spawned: &Spawned) {
        if !spawned.is_listed
            && let Err(error) = self.write(&sys::group_line(spawned.pid))
        {
            let group = spawned.pid;
            warn(|| format!("what process {group} forks will outlive us, if we die: {error}"));
        }
    }

    /// Blanks the line of a group that was killed, and whose leader is not
    /// reaped yet, or of one that has never been.
    pub(crate) fn dismiss(self) {
        if self.process == std::process::id() && self.write(&BLANK_LINE).is_ok() {
            lock().free.push(self.line);
        }
    }

    fn write(&self, line: &GroupLine) -> io::Result<()> {
        self.list.write_all_at(line, self.offset())
    }

    /// Where the group stands, behind the numbers of the sockets.
    fn offset(&self) -> u64 {
        self.start() + NUMBERS_BYTES
    }

    fn start(&self) -> u64 {
        self.line as u64 * (NUMBERS_BYTES + size_of::<GroupLine>() as u64)
    }
}

/// Our end of the guardian's socket.
type Guardian = Arc<UnixStream>;

/// Where the guardian is, and its list.
struct GuardianState {
    /// Whose guardian it is.
    process: u32,
    guardian: Option<Guardian>,
    /// Serves one guardian after the other.
    list: Option<Arc<File>>,
    /// How many lines the list has.
    lines: usize,
    /// Those that are blank.
    free: Vec<usize>,
    /// There can be none on this system.
    is_hopeless: bool,
}

impl GuardianState {
    const fn empty() -> Self {
        Self {
            process: 0,
            guardian: None,
            list: None,
            lines: 0,
            free: Vec::new(),
            is_hopeless: false,
        }
    }

    /// Calls a guardian, if there is none.
    fn call(&mut self, engine: &'static Engine) -> io::Result<()> {
        if self.process != std::process::id() {
            // A fork without exec has a copy of its parent's, which it must not
            // touch: its descriptor was closed by the fork.
            std::mem::forget(std::mem::replace(self, Self::empty()));
            self.process = std::process::id();
        }
        if self.guardian.is_some() || self.is_hopeless {
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

    fn give_up(&mut self, lacks: &str, cause: &io::Error) {
        self.is_hopeless = true;
        warn(|| format!("what a machine forks will outlive us, if we die: {lacks}: {cause}"));
    }
}

static STATE: Mutex<GuardianState> = Mutex::new(GuardianState::empty());

fn lock() -> MutexGuard<'static, GuardianState> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a shell that leaves the guardian behind, and goes.
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
    // By which it finds `ls`.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = CString::new([b"PATH=", path.as_bytes()].concat()).unwrap_or_default();
    let started = sys::spawn(&Image {
        program: &strings(&["/bin/sh"])[0],
        arguments: &strings(&["sh", "-c", SCRIPT, "qemu-machine-guardian"]),
        environment: &[path],
        directory: Some(&strings(&["/"])[0]),
        descriptors: &[null, null, null, theirs.as_raw_fd(), list.as_raw_fd()],
        group_slot: None,
        // Or it is killed before it has left the guardian, where we die then.
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

/// Whether it will not be otherwise later.
fn is_denied(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    )
}

/// Waits until the guardian dies, calls another then, and reaps the dead one
/// where this process has adopted it. It is in the group of the shell that left
/// it behind.
async fn attend(engine: &'static Engine, guardian: Guardian, group: u32) {
    let called = Instant::now();
    // It says nothing: what there is to be read is its end.
    while let Err(error) = engine::readable(guardian.as_fd()).await {
        warn(|| format!("the guardian cannot be watched yet: {error}"));
        engine::pause(RETRY).await;
    }
    let_go(&guardian);
    warn(|| "the guardian has died: another is called".to_owned());
    if called.elapsed() < RETRY {
        // One that cannot live is not called over and over.
        engine::pause(RETRY).await;
    }
    while let Err(error) = call_again(engine) {
        warn(|| format!("there is no guardian yet: {error}"));
        engine::pause(RETRY).await;
    }
    if sys::adopts_orphans() {
        // Until it is reaped, nobody else's group has this id.
        for pidfd in survivors::group(group) {
            process::ended(&pidfd).await;
            sys::reap(&pidfd);
        }
    }
}

fn call_again(engine: &'static Engine) -> io::Result<()> {
    lock().call(engine)
}

/// One that has died is called no more.
fn let_go(guardian: &Guardian) {
    let mut state = lock();
    let held = state.guardian.as_ref();
    if held.is_some_and(|held| Arc::ptr_eq(held, guardian)) {
        sys::leave_to_forks(&**guardian);
        state.guardian = None;
    }
}

fn warn(words: impl FnOnce() -> String) {
    engine::log(log::Level::Warn, module_path!(), words);
}

/// Signals that end whoever is on the same terminal, or is to be stopped by
/// the same service manager, must not end the guardian before its time.
///
/// A process that holds the machine's end of a socket is killed, unless it holds
/// ours too: it is a fork of the dead process then. It is looked at once more
/// just before that, as its id may be another's by then. All are looked at again
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

/// The numbers of the machine's end and ours of a socket pair, before a group.
const NUMBERS_BYTES: u64 = 42;

/// When what has failed is tried anew: what has run out does not say when there
/// is some again.
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
