//! Bad conditions for a process that uses the library, and a folder for sockets.

use std::path::PathBuf;

use crate::sys;

pub use crate::sys::Forked;

/// A limit on the descriptors of this process. A drop restores the limit before.
#[derive(Debug)]
#[must_use = "a drop ends the limit"]
pub struct DescriptorLimit {
    before: u64,
    now: u64,
}

impl DescriptorLimit {
    /// Limits this process to descriptors below this number. If the limit was lower,
    /// it is raised as far as permitted.
    pub fn below(number: u64) -> Self {
        let (before, now) = sys::limit_descriptors(number);
        Self { before, now }
    }

    /// The lowest forbidden number. It is lower than requested if only root could
    /// raise the limit that far.
    pub fn number(&self) -> u64 {
        self.now
    }
}

impl Drop for DescriptorLimit {
    fn drop(&mut self) {
        sys::limit_descriptors(self.before);
    }
}

/// Written memory in small pages, which makes a copy of this process expensive.
/// A drop frees it.
#[derive(Debug)]
#[must_use = "a drop frees the memory"]
pub struct Ballast {
    memory: *mut libc::c_void,
    bytes: usize,
}

impl Ballast {
    /// Allocates this much memory, and writes to all of it.
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

/// The parent of folders for sockets: the folder for temporary files. If its path
/// is too long, it is `/tmp`, because a socket's path has up to 107 bytes.
pub fn folder_for_sockets() -> PathBuf {
    let folder = std::env::temp_dir();
    if folder.as_os_str().len() > ROOM_FOR_A_NAME {
        return PathBuf::from("/tmp");
    }
    folder
}

/// The longest path of the folder. A name in it has up to 50 characters.
const ROOM_FOR_A_NAME: usize = 107 - 50;

/// Traces a process like a debugger, until this process ends. A user other than
/// root needs a 0 in `/proc/sys/kernel/yama/ptrace_scope`.
///
/// # Panics
/// The system does not permit it.
pub fn trace(pid: u32) {
    sys::trace(pid);
}

/// Waits until a traced process has ended, and does not reap it.
///
/// # Panics
/// This process does not trace it.
pub fn wait_for_the_end_of_a_tracee(pid: u32) {
    sys::wait_for_the_end_of_a_tracee(pid);
}

/// Sends SIGKILL to a process at once, from this thread.
pub fn kill(pid: u32) {
    sys::kill(pid);
}

/// Makes every later start of a process or thread fail, until this process ends.
/// For that, the process stops being root.
pub fn forbid_processes() {
    sys::forbid_processes();
}

/// Ignores SIGCHLD, so that the kernel reaps every child.
pub fn ignore_children() {
    sys::ignore_children();
}

/// Reaps the next child that ends; `None` if there is none.
pub fn reap_any() -> Option<u32> {
    sys::reap_any()
}

/// Forks without exec. The child runs `work`, and exits with 0 when it returns,
/// or with 101 when it panics. It drops nothing of its parent.
pub fn fork(work: impl FnOnce()) -> Forked {
    sys::fork(work)
}
