//! Changes that all processes with a shared descriptor see. They are undone when
//! no session needs them any more, and when this process exits by itself.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use super::person_output::PersonOutput;
use crate::sys::{self, TerminalMode};

/// Keeps something changed. The drop of the last one restores it.
#[derive(Debug)]
pub(super) struct Change(What);

/// The thing that is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A terminal's mode; all its open files share one.
    Mode { device: u64 },
    /// Whether reads and writes wait.
    Waits { device: u64, inode: u64 },
    /// The state of a terminal that a session's output changed.
    Output { session: u64 },
}

/// Puts a terminal into raw mode: every key goes to the guest. Returns `None` if
/// another session has put it into raw mode: its present mode is not its own.
pub(super) fn raw_mode(terminal: OwnedFd) -> io::Result<Option<Change>> {
    let device = match sys::terminal_device(&terminal) {
        Ok(device) => device,
        // By the name of the file that was opened.
        Err(_) => File::from(terminal.try_clone()?).metadata()?.rdev(),
    };
    let what = What::Mode { device };
    let mut all = all();
    if find(&mut all, what).is_some() {
        return Ok(None);
    }
    let before = TerminalMode::of(&terminal)?;
    before.raw().set(&terminal)?;
    all.push(Changed::new(what, Before::Mode(terminal, before)));
    Ok(Some(Change(what)))
}

/// Undoes what the written output changes about a terminal.
pub(super) fn terminal_modes(output: Arc<PersonOutput>) -> Change {
    static SESSIONS: AtomicU64 = AtomicU64::new(0);
    let session = SESSIONS.fetch_add(1, Ordering::Relaxed);
    let what = What::Output { session };
    all().push(Changed::new(what, Before::Output(output)));
    Change(what)
}

/// Makes reads and writes return at once, for all processes that share the open
/// file. Returns `None` if they already do.
pub(super) fn nonblocking(file: &File) -> io::Result<Option<Change>> {
    let (data, copy) = (file.metadata()?, file.try_clone()?);
    let what = What::Waits {
        device: data.dev(),
        inode: data.ino(),
    };
    let mut all = all();
    let was_so = sys::set_nonblocking(file, true)?;
    match find(&mut all, what) {
        Some(changed) => {
            changed.users += 1;
            if !was_so {
                changed.before.push(Before::Waits(copy));
            }
        }
        None if was_so => return Ok(None),
        None => all.push(Changed::new(what, Before::Waits(copy))),
    }
    Ok(Some(Change(what)))
}

impl Drop for Change {
    fn drop(&mut self) {
        let mut all = all();
        let is_it = |it: &Changed| it.what == self.0 && it.is_ours();
        let Some(place) = all.iter().position(is_it) else {
            // A copy in a forked process.
            return;
        };
        all[place].users -= 1;
        if all[place].users == 0 {
            all[place].restore();
            let changed = all.remove(place);
            // Its parts may own another change, whose drop needs the lock.
            drop(all);
            drop(changed);
        }
    }
}

struct Changed {
    what: What,
    users: usize,
    process: u32,
    before: Vec<Before>,
}

enum Before {
    Mode(OwnedFd, TerminalMode),
    Waits(File),
    Output(Arc<PersonOutput>),
}

impl Changed {
    fn new(what: What, before: Before) -> Self {
        static AT_EXIT: Once = Once::new();
        AT_EXIT.call_once(|| sys::at_exit(restore_all));
        Self {
            what,
            users: 1,
            process: std::process::id(),
            before: vec![before],
        }
    }

    /// A forked process must not undo its parent's changes.
    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    fn restore(&self) {
        for before in &self.before {
            // It fails only if the terminal is gone.
            let _ = match before {
                Before::Mode(terminal, mode) => restore_mode(terminal, mode),
                Before::Waits(file) => sys::set_nonblocking(file, false).map(drop),
                Before::Output(output) => {
                    output.restore_now();
                    Ok(())
                }
            };
        }
    }
}

/// In the background, another program has the terminal, and has most likely set
/// its mode. Then the mode is restored only if it is still the raw mode from
/// here.
fn restore_mode(terminal: &OwnedFd, before: &TerminalMode) -> io::Result<()> {
    let is_ours = || {
        let now = TerminalMode::of(terminal)?;
        Ok::<bool, io::Error>(now.is(&before.raw()))
    };
    if sys::is_in_background(terminal) && !is_ours()? {
        return Ok(());
    }
    before.set(terminal)
}

extern "C" fn restore_all() {
    // No waiting for the lock: its thread may never go on.
    if let Ok(all) = ALL.try_lock() {
        let ours = all.iter().rev().filter(|it| it.is_ours());
        ours.for_each(Changed::restore);
    }
}

fn find(all: &mut [Changed], what: What) -> Option<&mut Changed> {
    all.iter_mut().find(|it| it.what == what && it.is_ours())
}

fn all() -> MutexGuard<'static, Vec<Changed>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

static ALL: Mutex<Vec<Changed>> = Mutex::new(Vec::new());
