//! System calls that the standard library does not offer. The crate's only file
//! with unsafe code.
#![allow(unsafe_code)]

use std::ffi::{CString, OsStr, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::ptr;
use std::time::Duration;

/// Returns freed memory to the system. Otherwise it would hide the next growth.
pub(crate) fn trim_heap() {
    // SAFETY: It is always allowed; it touches only free memory.
    unsafe { libc::malloc_trim(0) };
}

/// A child that was started by bare system calls. Its owner must wait for it.
#[derive(Debug)]
pub(crate) struct Bare(libc::pid_t);

/// Starts a program as `vfork` and `execv` do, with these descriptors as its 0,
/// 1, 2, …. It also inherits every descriptor without close-on-exec.
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
    // SAFETY: The child has its own stack, whose top is aligned, and a plan.
    // CLONE_VFORK blocks this thread until the child no longer uses either. No
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
    // SAFETY: `vfork_exec` passes a plan that no other thread touches. Its lists
    // have the length of its count, or end in null. The function makes only
    // system calls.
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
    /// Waits until the child has ended. Returns its status of `waitpid(2)`.
    pub(crate) fn wait(self) -> io::Result<c_int> {
        let mut status = 0;
        // SAFETY: The status outlives the call.
        match unsafe { libc::waitpid(self.0, &raw mut status, 0) } {
            0.. => Ok(status),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Starts a program by a true `fork`, as the standard library does if code must
/// run in the child. The code here gives it this descriptor by this number.
pub(crate) fn fork_exec(
    command: &mut Command,
    descriptor: BorrowedFd<'_>,
    number: RawFd,
) -> io::Result<Child> {
    let descriptor = descriptor.as_raw_fd();
    let give = move || {
        // SAFETY: No memory is involved. If both numbers were the same, `dup2`
        // would keep close-on-exec.
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

/// The processor time of all threads of a process, including ended ones.
pub(crate) fn processor_time(process: u32) -> io::Result<Duration> {
    let failed = |error: c_int| io::Error::from_raw_os_error(error);
    let process = process.try_into().map_err(|_| failed(libc::ESRCH))?;
    let mut clock = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: The calls write both, and both outlive the calls.
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

/// Makes this process use the smallest pages, like most programs whose memory has
/// grown slowly. A fork with a few large pages is cheaper.
pub(crate) fn forbid_huge_pages() -> io::Result<()> {
    // SAFETY: It passes only numbers.
    match unsafe { libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// An argument as a C string.
pub(crate) fn c_string(word: &OsStr) -> io::Result<CString> {
    Ok(CString::new(word.as_encoded_bytes())?)
}
