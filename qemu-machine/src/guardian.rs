//! The guardian: a process that outlives this one for just as long as it takes
//! to kill what its machines have left.
//!
//! The kernel kills the process that we started when we die, however we die;
//! but not what that one forked, nor one that has cleared the wish, as a
//! program with capabilities of its own does. So the first launch starts a
//! shell that reads from a socket which process groups there are. The socket
//! ends when this process does, or becomes another program. Then the guardian
//! kills the groups that are left, and ends.
//!
//! It is no child of ours: whoever waits for all children waits for machines
//! alone.
//!
//! Never is there a group that it does not know: each announces itself before
//! it becomes its program. Never does it keep one that has gone: its id is
//! dismissed while the leader, not reaped yet, still holds it.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use qemu_qmp::engine::{self, Engine, Stream};
use socket2::{Domain, Socket, Type};

use crate::process;
use crate::sys::{self, Image, NotSpawned, Spawned, Step};

/// Our end of the guardian's socket. It is watched over all groups that ever
/// announced themselves on it.
pub(crate) type Guardian = Arc<Stream>;

/// The guardian, called now if there is none; `None` where this system has no
/// shell. To be called on the engine's thread alone.
pub(crate) fn call(engine: &'static Engine) -> io::Result<Option<Guardian>> {
    let mut post = lock();
    if post.process != std::process::id() {
        // A fork without exec has a copy of its parent's, which it must not
        // touch: its descriptor was closed by the fork.
        std::mem::forget(std::mem::take(&mut *post));
        post.process = std::process::id();
    }
    if post.guardian.is_none() && !post.no_shell {
        post.guardian = start(engine)?;
        post.no_shell = post.guardian.is_none();
        if let Some(guardian) = &post.guardian {
            sys::close_in_forks(&**guardian);
            for group in &post.groups {
                tell(guardian, '+', *group);
            }
        }
    }
    Ok(post.guardian.clone())
}

/// A group that has been started.
pub(crate) fn started(spawned: &Spawned) {
    let mut post = lock();
    post.groups.push(spawned.pid);
    if let Some(guardian) = post.guardian.as_ref().filter(|_| !spawned.announced) {
        tell(guardian, '+', spawned.pid);
    }
}

/// A group that was killed; its leader is not reaped yet.
pub(crate) fn dismiss(group: u32) {
    let mut post = lock();
    post.groups.retain(|&it| it != group);
    if let Some(guardian) = &post.guardian {
        tell(guardian, '-', group);
    }
}

/// Where the guardian is, and whom it is to know.
#[derive(Default)]
struct Post {
    /// Whose guardian it is.
    process: u32,
    guardian: Option<Guardian>,
    no_shell: bool,
    groups: Vec<u32>,
}

static POST: Mutex<Post> = Mutex::new(Post {
    process: 0,
    guardian: None,
    no_shell: false,
    groups: Vec::new(),
});

fn lock() -> MutexGuard<'static, Post> {
    POST.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tell(guardian: &Stream, sign: char, group: u32) {
    // Where it has died, its successor is told anew.
    let _ = guardian.send(format!("{sign} {group:09}\n").as_bytes());
}

/// Starts a shell that leaves the guardian behind, and goes.
fn start(engine: &'static Engine) -> io::Result<Option<Guardian>> {
    let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
    let stream = Arc::new(Stream::new(ours, OUTBOX_LIMIT_BYTES)?);
    let null = File::options().read(true).write(true).open("/dev/null")?;
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
        descriptors: &[null, null, null, theirs.as_raw_fd()],
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
            let lacks = [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied];
            if step == Step::Exec && lacks.contains(&cause.kind()) {
                warn(|| {
                    format!("what a machine forks will outlive us, if we die: /bin/sh: {cause}")
                });
                return Ok(None);
            }
            return Err(cause);
        }
    };
    engine.spawn(async move {
        process::ended(&shell).await;
        sys::reap(&shell);
    });
    engine.spawn(attend(engine, Arc::clone(&stream)));
    Ok(Some(stream))
}

/// Has the guardian told what it is to know, until it dies; then calls another
/// for the groups that there are.
async fn attend(engine: &'static Engine, guardian: Guardian) {
    let called = Instant::now();
    loop {
        match guardian.drive(|_| Ok::<(), io::Error>(())).await {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => {
                // Something has run out here. The guardian lives, and to let go
                // of its socket is to have it kill: what it is to know waits.
                warn(|| format!("the guardian cannot be told yet: {error}"));
                wait(ANEW).await;
            }
            _ => break,
        }
    }
    let_go(&guardian);
    warn(|| "the guardian has died: another is called".to_owned());
    if called.elapsed() < ANEW {
        // One that cannot live is not called over and over.
        wait(ANEW).await;
    }
    while let Err(error) = call(engine) {
        warn(|| format!("there is no guardian yet: {error}"));
        wait(ANEW).await;
    }
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

/// For want of something to wait on: what has run out does not say when there
/// is some again.
async fn wait(time: Duration) {
    let _ = engine::timeout(Some(time), std::future::pending::<()>()).await;
}

fn warn(words: impl FnOnce() -> String) {
    engine::log(log::Level::Warn, module_path!(), words);
}

/// Signals that end whoever is on the same terminal, or is to be stopped by
/// the same service manager, must not end the guardian before its time.
const SCRIPT: &str = r#"{
    trap '' HUP INT QUIT TERM
    groups=' '
    while read -r sign group; do
        case $sign in
        +) groups="$groups$group " ;;
        -) case $groups in
            *" $group "*) groups="${groups%% "$group" *} ${groups#* "$group" }" ;;
            esac ;;
        esac
    done
    for group in $groups; do
        kill -s KILL -- "-$group"
    done
} <&3 3<&- &"#;

/// What may wait for a guardian that is stopped: some 80,000 machines.
const OUTBOX_LIMIT_BYTES: usize = 1 << 20;

/// When what has failed is tried anew.
const ANEW: Duration = Duration::from_secs(1);
