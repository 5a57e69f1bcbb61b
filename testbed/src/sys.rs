//! The system calls of the crate. Beside `allocator`, the only file with unsafe
//! code.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::time::Instant;

/// A new pseudo-terminal: the user's end, and the terminal.
///
/// # Panics
/// The system has none left.
pub fn pseudo_terminal() -> (File, OwnedFd) {
    let (mut person, mut terminal) = (-1, -1);
    // SAFETY: The call fills both numbers and gets nothing else. The kernel made
    // the descriptors for this process.
    unsafe {
        let (name, mode, size) = (
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
        let result = libc::openpty(&raw mut person, &raw mut terminal, name, mode, size);
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
        (File::from_raw_fd(person), OwnedFd::from_raw_fd(terminal))
    }
}

/// Brings a process group of this session to the foreground of its terminal. This
/// process is then in the background.
///
/// # Panics
/// The terminal or the group is not this session's.
pub fn bring_to_foreground(terminal: &OwnedFd, group: u32) {
    let group = libc::pid_t::try_from(group).unwrap();
    // SAFETY: Numbers alone.
    let done = unsafe { libc::tcsetpgrp(terminal.as_raw_fd(), group) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

pub(crate) fn become_subreaper() {
    // SAFETY: It takes numbers alone.
    let done = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

/// Waits for a child's end; `false` if the deadline comes first. A process that is
/// not a child, or is already reaped, has ended.
pub(crate) fn wait_by(pid: u32, deadline: Instant) -> bool {
    Target::of(pid).is_none_or(|target| target.ends_by(deadline))
}

/// Reaps a child that has ended.
pub(crate) fn reap(pid: u32) {
    if let Ok(pid) = libc::pid_t::try_from(pid) {
        // SAFETY: The status is not asked for.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
    }
}

/// A process by its descriptor, so that a reused id is never mistaken for it.
#[derive(Debug)]
pub struct Target(OwnedFd);

impl Target {
    /// The process with this id; `None` if there is none.
    pub fn of(pid: u32) -> Option<Self> {
        let number = libc::pid_t::try_from(pid).ok()?;
        // SAFETY: Numbers alone. The kernel made the descriptor for this process.
        unsafe {
            match libc::syscall(libc::SYS_pidfd_open, number, 0) {
                descriptor @ 0.. => Some(Self(OwnedFd::from_raw_fd(
                    i32::try_from(descriptor).unwrap_or(i32::MAX),
                ))),
                _ => None,
            }
        }
    }

    /// Sends a signal; `false` if the process has ended.
    pub fn signal(&self, number: i32) -> bool {
        let null = std::ptr::null::<libc::siginfo_t>();
        let descriptor = self.0.as_raw_fd();
        // SAFETY: Numbers, and a null that the kernel fills in for itself.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, descriptor, number, null, 0) == 0 }
    }

    /// Waits for its end; `false` if the deadline comes first.
    fn ends_by(&self, deadline: Instant) -> bool {
        let mut poll = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let left = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: One structure, which outlives the call.
        unsafe { libc::poll(&raw mut poll, 1, left) > 0 }
    }

    /// Stops this process, which must be a child, and waits until it has stopped.
    /// Otherwise a later signal could take effect first. `false` if it has ended.
    pub fn stop(&self) -> bool {
        let id = libc::id_t::from(self.0.as_raw_fd().cast_unsigned());
        // SAFETY: Plain data, which the call fills and nothing reads.
        self.signal(libc::SIGSTOP)
            && unsafe {
                let mut info: libc::siginfo_t = std::mem::zeroed();
                libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WSTOPPED) == 0
            }
    }
}

pub(crate) fn reap_any() -> Option<u32> {
    // SAFETY: The status is not asked for.
    let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
    u32::try_from(pid).ok()
}

pub(crate) fn kill(pid: u32) {
    let number = libc::pid_t::try_from(pid).expect("the id of a process");
    // SAFETY: Numbers alone.
    let sent = unsafe { libc::kill(number, libc::SIGKILL) };
    assert_eq!(sent, 0, "{}", io::Error::last_os_error());
}

pub(crate) fn trace(pid: u32) {
    let none = std::ptr::null_mut::<libc::c_void>();
    let number = libc::pid_t::try_from(pid).expect("the id of a process");
    // SAFETY: Numbers alone; the tracee's memory is not touched.
    let traced = unsafe { libc::ptrace(libc::PTRACE_SEIZE, number, none, none) };
    assert_eq!(traced, 0, "{}", io::Error::last_os_error());
}

pub(crate) fn wait_for_the_end_of_a_tracee(pid: u32) {
    // SAFETY: `info` is plain data, and nothing of it is read.
    let waited = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(
            libc::P_PID,
            pid,
            &raw mut info,
            libc::WEXITED | libc::WNOWAIT,
        )
    };
    assert_eq!(waited, 0, "{}", io::Error::last_os_error());
}

/// Maps this number of bytes and writes to every page.
pub(crate) fn map_and_touch(bytes: usize) -> *mut libc::c_void {
    // SAFETY: A new mapping of this process; all writes are within it. The
    // advice may fail: a kernel without large pages refuses it.
    unsafe {
        let memory = libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert_ne!(memory, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        libc::madvise(memory, bytes, libc::MADV_NOHUGEPAGE);
        memory.cast::<u8>().write_bytes(1, bytes);
        memory
    }
}

/// Unmaps a mapping of [`map_and_touch`] with this size.
pub(crate) fn unmap(memory: *mut libc::c_void, bytes: usize) {
    // SAFETY: The mapping is whole, and only its owner had its address.
    let done = unsafe { libc::munmap(memory, bytes) };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

pub(crate) fn ignore_children() {
    // SAFETY: No handler is installed.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Sets the limit as far as permitted. Returns the limits before and now.
pub(crate) fn limit_descriptors(number: u64) -> (u64, u64) {
    // SAFETY: Plain data, which the calls fill and read.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        let got = libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        assert_eq!(got, 0, "{}", io::Error::last_os_error());
        let (before, most) = (limit.rlim_cur, limit.rlim_max);
        limit.rlim_cur = number;
        limit.rlim_max = most.max(number);
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0 {
            (limit.rlim_cur, limit.rlim_max) = (most, most);
            let set = libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
            assert_eq!(set, 0, "{}", io::Error::last_os_error());
        }
        (before, limit.rlim_cur)
    }
}

pub(crate) fn forbid_processes() {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: Plain data and numbers. The limit does not hold for root.
    let done = unsafe {
        let limited = libc::setrlimit(libc::RLIMIT_NPROC, &raw const none);
        if limited == 0 && libc::geteuid() == 0 {
            libc::setresuid(NOBODY, NOBODY, NOBODY)
        } else {
            limited
        }
    };
    assert_eq!(done, 0, "{}", io::Error::last_os_error());
}

const NOBODY: u32 = 65534;

/// A child that was forked without exec.
#[derive(Debug)]
pub struct Forked(libc::pid_t);

impl Forked {
    /// The child's process.
    pub fn id(&self) -> u32 {
        self.0.unsigned_abs()
    }

    /// Waits for its end; `true` if it exited with 0.
    pub fn succeeded(self) -> bool {
        let mut status = 0;
        // SAFETY: The status outlives the call.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, 0) };
        waited == self.0 && status == 0
    }
}

pub(crate) fn fork(work: impl FnOnce()) -> Forked {
    // SAFETY: The child has only this thread. Locks of other threads stay locked
    // there; the tests check that the work copes with that.
    match unsafe { libc::fork() } {
        0 => {
            let result = std::panic::catch_unwind(AssertUnwindSafe(work));
            // SAFETY: It ends the process without running code of this program.
            unsafe { libc::_exit(if result.is_ok() { 0 } else { 101 }) }
        }
        pid => {
            assert!(pid > 0, "{}", io::Error::last_os_error());
            Forked(pid)
        }
    }
}
