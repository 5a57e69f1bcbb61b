//! The guardian: a process that outlives this one for just as long as it takes
//! to kill what its machines have left.
//!
//! The kernel kills the process that we started when we die, however we die;
//! but not what that one forked, nor one that has cleared the wish, as a
//! program with capabilities of its own does. So the first launch starts a
//! shell that waits for the end of a socket: that ends when this process does,
//! or becomes another program. Then the guardian kills the process groups that
//! are on a list, and ends. The list is a file in memory, a line for each
//! group, so that to write on it wakes nobody.
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
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qemu_qmp::engine::{self, Engine};

use crate::process;
use crate::sys::{self, BLANK_LINE, GroupLine, Herald, Image, NotSpawned, Spawned, Step};

/// The line of a group that is to be, or is. Dropped, it stays on the list.
#[derive(Debug)]
pub(crate) struct Entry {
    list: Arc<File>,
    line: usize,
    /// Whose list it is: a fork without exec has a copy of this.
    process: u32,
}

/// A line for a group that is about to be started; `None` where there is no
/// guardian, as this system has nothing to make one of. To be called on the
/// engine's thread alone.
pub(crate) fn enter(engine: &'static Engine) -> io::Result<Option<Entry>> {
    let mut post = lock();
    post.call(engine)?;
    let Some(list) = post.list.clone() else {
        return Ok(None);
    };
    let line = post.free.pop().unwrap_or(post.lines);
    let entry = Entry {
        list,
        line,
        process: post.process,
    };
    // What takes memory is done now, while this can be told.
    if let Err(error) = entry.write(&BLANK_LINE) {
        post.free.push(line);
        return Err(error);
    }
    post.lines = post.lines.max(line + 1);
    Ok(Some(entry))
}

impl Entry {
    /// By what the child enters itself.
    pub(crate) fn herald(&self) -> Herald<'_> {
        Herald {
            list: self.list.as_fd(),
            offset: self.offset(),
        }
    }

    /// Enters a group that has been started, where its leader has not done so.
    pub(crate) fn complete(&self, spawned: &Spawned) {
        if !spawned.announced
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

    fn offset(&self) -> u64 {
        self.line as u64 * size_of::<GroupLine>() as u64
    }
}

/// Our end of the guardian's socket.
type Guardian = Arc<UnixStream>;

/// Where the guardian is, and its list.
struct Post {
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

impl Post {
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

static POST: Mutex<Post> = Mutex::new(Post::empty());

fn lock() -> MutexGuard<'static, Post> {
    POST.lock().unwrap_or_else(PoisonError::into_inner)
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
    let started = sys::spawn(&Image {
        program: &strings(&["/bin/sh"])[0],
        arguments: &strings(&["sh", "-c", SCRIPT, "qemu-machine-guardian"]),
        environment: &[],
        directory: Some(&strings(&["/"])[0]),
        descriptors: &[null, null, null, theirs.as_raw_fd(), list.as_raw_fd()],
        herald: None,
        // Or it is killed before it has left the guardian, where we die then.
        dies_with_us: false,
    });
    let shell = match started {
        Ok(shell) => shell.pidfd,
        Err(NotSpawned { step, cause, child }) => {
            if let Some(child) = child {
                sys::reap_failed(&child);
            }
            return Err((step, cause));
        }
    };
    engine.spawn(async move {
        process::ended(&shell).await;
        sys::reap(&shell);
    });
    let ours = Arc::new(ours);
    engine.spawn(attend(engine, Arc::clone(&ours)));
    Ok(ours)
}

/// Whether it will not be otherwise later.
fn is_denied(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported
    )
}

/// Waits until the guardian dies, and calls another then.
async fn attend(engine: &'static Engine, guardian: Guardian) {
    let called = Instant::now();
    // It says nothing: what there is to be read is its end.
    while let Err(error) = engine::readable(guardian.as_fd()).await {
        warn(|| format!("the guardian cannot be watched yet: {error}"));
        engine::pause(ANEW).await;
    }
    let_go(&guardian);
    warn(|| "the guardian has died: another is called".to_owned());
    if called.elapsed() < ANEW {
        // One that cannot live is not called over and over.
        engine::pause(ANEW).await;
    }
    while let Err(error) = call_again(engine) {
        warn(|| format!("there is no guardian yet: {error}"));
        engine::pause(ANEW).await;
    }
}

fn call_again(engine: &'static Engine) -> io::Result<()> {
    lock().call(engine)
}

/// One that has died is called no more.
fn let_go(guardian: &Guardian) {
    let mut post = lock();
    let held = post.guardian.as_ref();
    if held.is_some_and(|held| Arc::ptr_eq(held, guardian)) {
        sys::leave_to_forks(&**guardian);
        post.guardian = None;
    }
}

fn warn(words: impl FnOnce() -> String) {
    engine::log(log::Level::Warn, module_path!(), words);
}

/// Signals that end whoever is on the same terminal, or is to be stopped by
/// the same service manager, must not end the guardian before its time.
const SCRIPT: &str = r#"{
    trap '' HUP INT QUIT TERM
    while read -r _; do :; done
    while read -r group; do
        case $group in
        [0-9]*) kill -s KILL -- "-$group" ;;
        esac
    done <&4
} <&3 3<&- &"#;

/// When what has failed is tried anew: what has run out does not say when there
/// is some again.
const ANEW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_group_from_its_start_to_its_end() {
        let entry = enter(Engine::start().unwrap()).unwrap().unwrap();
        let (list, offset) = (Arc::clone(&entry.list), entry.offset());
        let line = || {
            let mut line = BLANK_LINE;
            list.read_exact_at(&mut line, offset).unwrap();
            line
        };
        assert_eq!(line(), BLANK_LINE);
        let spawned = |announced| Spawned {
            pid: 4711,
            pidfd: File::open("/dev/null").unwrap().into(),
            announced,
        };
        entry.complete(&spawned(true));
        assert_eq!(line(), BLANK_LINE);
        entry.complete(&spawned(false));
        assert_eq!(line(), *b"000004711\n");
        entry.dismiss();
        assert_eq!(line(), BLANK_LINE);
    }
}
