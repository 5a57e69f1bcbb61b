//! What a program that uses the library may do to itself, or have done to it;
//! and where the host has room for what the tests make.

use std::path::PathBuf;

use crate::sys;

pub use crate::sys::Forked;

/// This process may open no more descriptors than these; the limit that was
/// before holds again when this is dropped.
#[derive(Debug)]
#[must_use = "the limit holds as long as this lives"]
pub struct DescriptorLimit {
    before: u64,
    now: u64,
}

impl DescriptorLimit {
    /// Lets this process have no descriptor of this number, or a higher one;
    /// but all lower ones, where the limit was lower yet and may be raised.
    pub fn below(number: u64) -> Self {
        let (before, now) = sys::limit_descriptors(number);
        Self { before, now }
    }

    /// The lowest number that this process may not have: less than was asked
    /// for, where nobody but root may raise the limit so far.
    pub fn number(&self) -> u64 {
        self.now
    }
}

impl Drop for DescriptorLimit {
    fn drop(&mut self) {
        sys::limit_descriptors(self.before);
    }
}

/// Memory that this process holds and has written to, in small pages: what
/// makes a copy of a large process dear. It is given back when this is dropped.
#[derive(Debug)]
#[must_use = "the memory is held as long as this lives"]
pub struct Ballast {
    memory: *mut libc::c_void,
    bytes: usize,
}

impl Ballast {
    /// Takes so much memory, and writes to all of it.
    pub fn of(bytes: usize) -> Self {
        Self {
            memory: sys::map_and_touch(bytes),
            bytes,
        }
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        sys::unmap(self.memory, self.bytes);
    }
}

/// The folder for folders with sockets in them: that for temporary files, or
/// `/tmp` where its path is so long that a socket's, which has 107 bytes at the
/// most, has no room for a name.
pub fn folder_for_sockets() -> PathBuf {
    let folder = std::env::temp_dir();
    if folder.as_os_str().len() > ROOM_FOR_A_NAME {
        return PathBuf::from("/tmp");
    }
    folder
}

/// What is left to a folder's path: a name in it has up to 50 letters.
const ROOM_FOR_A_NAME: usize = 107 - 50;

/// Traces a process as a debugger does, until this one ends. Whoever is not root
/// may do so where `/proc/sys/kernel/yama/ptrace_scope` is 0.
///
/// # Panics
/// It may not.
pub fn trace(pid: u32) {
    sys::trace(pid);
}

/// Waits until a process has ended that this one traces, and does not reap it.
///
/// # Panics
/// This one does not trace it.
pub fn wait_for_the_end_of_a_tracee(pid: u32) {
    sys::wait_for_the_end_of_a_tracee(pid);
}

/// Sends SIGKILL to a process, from this very thread and at once.
pub fn kill(pid: u32) {
    sys::kill(pid);
}

/// Has every further start of a process or thread fail, for as long as this
/// process lives. It gives up being root for that.
pub fn forbid_processes() {
    sys::forbid_processes();
}

/// Ignores SIGCHLD, so that the kernel reaps every child.
pub fn ignore_children() {
    sys::ignore_children();
}

/// Reaps a child, whichever ends first; `None` where there is none.
pub fn reap_any() -> Option<u32> {
    sys::reap_any()
}

/// Forks without exec. The child runs `work`, and exits by 0 when it returns,
/// or by 101 when it panics, with nothing of its parent's dropped.
pub fn fork(work: impl FnOnce()) -> Forked {
    sys::fork(work)
}
