//! The system calls that the standard library does not offer; the crate's only
//! unsafe file.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr;
use std::time::Duration;

/// Gives back to the system what this process has allocated no more, which would
/// hide what is taken next.
pub(crate) fn trim_heap() {
    // SAFETY: It is always allowed; it touches only what is free.
    unsafe { libc::malloc_trim(0) };
}

/// A child that was started by the barest calls, to be waited for.
#[derive(Debug)]
pub(crate) struct Bare(libc::pid_t);

/// Starts a program as `vfork` and `execv` do, with these descriptors as its 0,
/// 1, 2, …, and whatever else is open without close-on-exec.
pub(crate) fn vfork_exec(words: &[CString], descriptors: &[BorrowedFd<'_>]) -> io::Result<Bare> {
    let arguments: Vec<*const c_char> = words
        .iter()
        .map(|word| word.as_ptr())
        .chain([ptr::null()])
        .collect();
    let mut descriptors: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let mut plan = Plan {
        arguments: arguments.as_ptr(),
        descriptors: descriptors.as_mut_ptr(),
        count: descriptors.len(),
        error: 0,
    };
    let mut stack = vec![0_u128; 1024];
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: The child has a stack of its own, whose top is aligned, and a
    // plan; CLONE_VFORK holds this thread until it has left both alone. No
    // program of this crate has a signal handler.
    let pid = unsafe {
        let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
        libc::clone(exec, top, flags, (&raw mut plan).cast())
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    match plan.error {
        0 => Ok(Bare(pid)),
        error => {
            Bare(pid).wait()?;
            Err(io::Error::from_raw_os_error(error))
        }
    }
}

struct Plan {
    arguments: *const *const c_char,
    descriptors: *mut RawFd,
    count: usize,
    error: c_int,
}

extern "C" fn exec(plan: *mut c_void) -> c_int {
    // SAFETY: `vfork_exec` passes a plan that nobody else touches meanwhile, and
    // whose pointers are as long as its count, or end in null. System calls
    // alone are made.
    unsafe {
        let plan = &mut *plan.cast::<Plan>();
        let count = c_int::try_from(plan.count).unwrap_or(c_int::MAX);
        let descriptors = std::slice::from_raw_parts_mut(plan.descriptors, plan.count);
        for descriptor in &mut *descriptors {
            *descriptor = libc::fcntl(*descriptor, libc::F_DUPFD_CLOEXEC, count);
        }
        for (number, &descriptor) in (0..count).zip(&*descriptors) {
            libc::dup2(descriptor, number);
        }
        libc::execv(*plan.arguments, plan.arguments);
        plan.error = *libc::__errno_location();
        libc::_exit(127)
    }
}

impl Bare {
    /// Waits until it has ended, and takes its status: that of `waitpid(2)`.
    pub(crate) fn wait(self) -> io::Result<c_int> {
        let mut status = 0;
        // SAFETY: The status outlives the call.
        match unsafe { libc::waitpid(self.0, &raw mut status, 0) } {
            0.. => Ok(status),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Starts a program by a true `fork`, as the standard library does where
/// something is to be done in the child; here that it gets this descriptor by
/// this number.
pub(crate) fn fork_exec(
    command: &mut Command,
    descriptor: BorrowedFd<'_>,
    number: RawFd,
) -> io::Result<Child> {
    let descriptor = descriptor.as_raw_fd();
    let give = move || {
        // SAFETY: No memory is involved. Of one and the same number, `dup2`
        // would leave close-on-exec as it is.
        let done = unsafe {
            if descriptor == number {
                libc::fcntl(number, libc::F_SETFD, 0)
            } else {
                libc::dup2(descriptor, number)
            }
        };
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: The closure makes one system call, and allocates nothing.
    unsafe { command.pre_exec(give) }.spawn()
}

/// The processor time of all threads that a process has had.
pub(crate) fn processor_time(process: u32) -> io::Result<Duration> {
    let failed = |error: c_int| io::Error::from_raw_os_error(error);
    let process = process.try_into().map_err(|_| failed(libc::ESRCH))?;
    let mut clock = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: Both are written by the calls, and outlive them.
    unsafe {
        match libc::clock_getcpuclockid(process, &raw mut clock) {
            0 => {}
            error => return Err(failed(error)),
        }
        if libc::clock_gettime(clock, &raw mut time) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Ok(Duration::new(seconds, nanoseconds))
}

/// Has this process get its memory in the smallest pages, as most programs do
/// whose memory has grown little by little. A fork of few and large ones is
/// cheaper.
pub(crate) fn forbid_huge_pages() -> io::Result<()> {
    // SAFETY: Numbers alone.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A word as a program gets it.
pub(crate) fn c_string(word: &OsStr) -> io::Result<CString> {
    Ok(CString::new(word.as_encoded_bytes())?)
}
