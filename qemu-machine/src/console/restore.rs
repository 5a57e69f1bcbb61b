//! What is changed for all who share a descriptor, and given back: when nobody
//! here needs it changed any more, or when this process exits by itself.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use super::person_output::PersonOutput;
use crate::sys::{self, TerminalMode};

/// Needs something changed. When the last that does is dropped, it is given
/// back.
#[derive(Debug)]
pub(super) struct Change(What);

/// What of whom is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// A terminal's mode; however it was opened, it has one.
    Mode { device: u64 },
    /// Whether reads and writes wait.
    Waits { device: u64, inode: u64 },
    /// What a session's output has changed about a terminal.
    Output { session: u64 },
}

/// A terminal in raw mode: every key goes to the guest. `None` where it is
/// already, by another's wish: the mode that would be given back is not its
/// own then.
pub(super) fn raw_mode(terminal: OwnedFd) -> io::Result<Option<Change>> {
    let device = match sys::terminal_device(&terminal) {
        Ok(device) => device,
        // By the name that it was opened by.
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

/// What is written to a terminal may change it, which is undone.
pub(super) fn terminal_modes(output: Arc<PersonOutput>) -> Change {
    static SESSIONS: AtomicU64 = AtomicU64::new(0);
    let session = SESSIONS.fetch_add(1, Ordering::Relaxed);
    let what = What::Output { session };
    all().push(Changed::new(what, Before::Output(output)));
    Change(what)
}

/// Reads and writes that return at once, for all who share the open file. `None`
/// where they do anyway.
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
            // A fork's copy.
            return;
        };
        all[place].users -= 1;
        if all[place].users == 0 {
            all[place].give_back();
            let changed = all.remove(place);
            // What it holds may need a change of its own, and the lock for that.
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
        AT_EXIT.call_once(|| sys::at_exit(give_all_back));
        Self {
            what,
            users: 1,
            process: std::process::id(),
            before: vec![before],
        }
    }

    /// A fork must leave be what its parent has changed.
    fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }

    fn give_back(&self) {
        for before in &self.before {
            // It fails only where the terminal is gone.
            let _ = match before {
                Before::Mode(terminal, mode) => mode_given_back(terminal, mode),
                Before::Waits(file) => sys::set_nonblocking(file, false).map(drop),
                Before::Output(output) => {
                    output.restore_now();
                    Ok(())
                }
            };
        }
    }
}

/// In the background, the terminal is somebody else's, who has most likely set
/// its mode: it is given back only where it is still the one that was set here.
fn mode_given_back(terminal: &OwnedFd, before: &TerminalMode) -> io::Result<()> {
    let is_ours = || {
        let now = TerminalMode::of(terminal)?;
        Ok::<bool, io::Error>(now.is(&before.raw()))
    };
    if sys::is_in_background(terminal) && !is_ours()? {
        return Ok(());
    }
    before.set(terminal)
}

extern "C" fn give_all_back() {
    // Not locked: the thread that holds it may never go on.
    if let Ok(all) = ALL.try_lock() {
        let ours = all.iter().rev().filter(|it| it.is_ours());
        ours.for_each(Changed::give_back);
    }
}

fn find(all: &mut [Changed], what: What) -> Option<&mut Changed> {
    all.iter_mut().find(|it| it.what == what && it.is_ours())
}

fn all() -> MutexGuard<'static, Vec<Changed>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

static ALL: Mutex<Vec<Changed>> = Mutex::new(Vec::new());
