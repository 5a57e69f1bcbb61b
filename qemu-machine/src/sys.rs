//! System calls that the standard library does not have: processes, descriptors
//! and terminals here, and files in `file`. No other code of the crate is unsafe.
//!
//! [`spawn`] starts a program like `vfork`: the child uses the memory of this
//! process until it becomes the program. So the cost does not depend on the
//! size of this process. Before that, the child makes only system calls: it
//! allocates nothing, takes no lock and runs no signal handler.
#![allow(unsafe_code)]

mod file;

use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

pub(crate) use file::{free_bytes, memory_file, next_data, reflink};

/// What a program is started with. Everything is allocated before, because the
/// child cannot allocate.
pub(crate) struct Image<'a> {
    pub(crate) program: &'a CString,
    pub(crate) arguments: &'a [CString],
    pub(crate) environment: &'a [CString],
    pub(crate) directory: Option<&'a CString>,
    /// The descriptors 0, 1, 2, … of the child. It has no others.
    pub(crate) descriptors: &'a [RawFd],
    /// Where the child writes its process group before it becomes the program.
    pub(crate) group_slot: Option<GroupSlot<'a>>,
    /// Whether the kernel kills it when the calling *thread* ends.
    pub(crate) dies_with_us: bool,
}

/// A line in a file that lists process groups.
pub(crate) struct GroupSlot<'a> {
    pub(crate) list: BorrowedFd<'a>,
    pub(crate) offset: u64,
}

/// A line of that list: nine digits and a line feed.
pub(crate) type GroupLine = [u8; 10];

/// A line without a group.
pub(crate) const BLANK_LINE: GroupLine = *b"         \n";

/// The line of a group.
pub(crate) fn group_line(group: u32) -> GroupLine {
    let mut line = BLANK_LINE;
    let mut rest = group;
    for digit in line[..9].iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
    }
    line
}

/// A child that became its program.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    /// Whether it wrote its group into the list.
    pub(crate) is_listed: bool,
}

/// A child that did not become its program.
#[derive(Debug)]
pub(crate) struct NotSpawned {
    pub(crate) step: Step,
    pub(crate) cause: io::Error,
    /// The child, which is ending and must be reaped; `None` if there was none.
    pub(crate) child: Option<Spawned>,
}

/// What the child was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Fork,
    Descriptors,
    Directory,
    Exec,
}

/// Starts a program as the leader of a new process group.
pub(crate) fn spawn(image: &Image<'_>) -> Result<Spawned, NotSpawned> {
    let pointers = |strings: &[CString]| -> Vec<*const c_char> {
        strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let arguments = pointers(image.arguments);
    let environment = pointers(image.environment);
    // Space for the duplicates.
    let mut descriptors = image.descriptors.to_vec();
    let mut plan = Plan {
        program: image.program.as_ptr(),
        arguments: arguments.as_ptr(),
        environment: environment.as_ptr(),
        directory: image.directory.map_or(ptr::null(), |path| path.as_ptr()),
        descriptors: descriptors.as_mut_ptr(),
        descriptor_count: descriptors.len(),
        slot_list: image
            .group_slot
            .as_ref()
            .map_or(-1, |it| it.list.as_raw_fd()),
        slot_offset: image.group_slot.as_ref().map_or(0, |it| it.offset),
        is_listed: false,
        dies_with_us: image.dies_with_us,
        parent: parent_id(),
        failure: None,
    };
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()];
    let mut pidfd: c_int = -1;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: sigfillset initialises the sets before they are read, and both
    // outlive the calls. `child` gets its own stack, whose top is aligned like
    // a u128, and `plan`. CLONE_VFORK suspends this thread until the child no
    // longer uses either. Signals are blocked until then, so that no handler of
    // the program runs in the child, in our memory.
    let pid = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let top = stack.as_mut_ptr().add(stack.len()).cast::<c_void>();
        let pid = libc::clone(child, top, flags, (&raw mut plan).cast(), &raw mut pidfd);
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        if pid < 0 {
            return Err(NotSpawned {
                step: Step::Fork,
                cause: error,
                child: None,
            });
        }
        pid
    };
    if pidfd < 0 {
        // A kernel before 5.2, or a sandbox that ignores the flag.
        signal_group(pid.unsigned_abs(), libc::SIGKILL);
        // SAFETY: The status is not asked for.
        unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
        return Err(NotSpawned {
            step: Step::Fork,
            cause: io::Error::from_raw_os_error(libc::ENOSYS),
            child: None,
        });
    }
    // SAFETY: The kernel made the descriptor for us alone.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    let child = Spawned {
        pid: pid.unsigned_abs(),
        pidfd,
        is_listed: plan.is_listed,
    };
    match plan.failure {
        None => Ok(child),
        Some((step, error)) => Err(NotSpawned {
            step,
            cause: io::Error::from_raw_os_error(error),
            child: Some(child),
        }),
    }
}

const STACK_BYTES: usize = 64 << 10;

/// What the child reads, and where it writes why it failed.
struct Plan {
    program: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
    directory: *const c_char,
    descriptors: *mut RawFd,
    descriptor_count: usize,
    slot_list: RawFd,
    slot_offset: u64,
    is_listed: bool,
    dies_with_us: bool,
    parent: libc::pid_t,
    failure: Option<(Step, c_int)>,
}

extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `spawn` passes a plan that nothing else uses until the child
    // execs or exits. Its pointers are as long as their counts, or end in null.
    unsafe {
        let plan = &mut *plan.cast::<Plan>();
        let step = become_program(plan);
        plan.failure = Some((step, *libc::__errno_location()));
        libc::_exit(127)
    }
}

/// Returns only on failure, with the step that set `errno`.
///
/// # Safety
/// Only for the child of [`spawn`], with its plan.
unsafe fn become_program(plan: &mut Plan) -> Step {
    // SAFETY: Only system calls, on memory that the plan owns; see `child`.
    unsafe {
        // A handler of this process must not run once signals are unblocked,
        // and QEMU must not inherit ignored signals.
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::setpgid(0, 0);
        if plan.dies_with_us {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        let parent = libc::getppid();
        if parent != plan.parent && parent != 0 && plan.dies_with_us {
            // The parent died before PR_SET_PDEATHSIG took effect.
            libc::_exit(127);
        }
        // A parent in another namespace of process ids writes the group itself,
        // because the list has its ids.
        if parent == plan.parent && plan.slot_list >= 0 {
            plan.is_listed = write_slot(plan.slot_list, plan.slot_offset, libc::getpid());
        }
        let count = c_int::try_from(plan.descriptor_count).unwrap_or(c_int::MAX);
        let descriptors = std::slice::from_raw_parts_mut(plan.descriptors, plan.descriptor_count);
        // First move all out of the way: a number can be both a source and a
        // target.
        for descriptor in &mut *descriptors {
            *descriptor = libc::fcntl(*descriptor, libc::F_DUPFD, count);
            if *descriptor < 0 {
                return Step::Descriptors;
            }
        }
        for (number, &descriptor) in (0..count).zip(&*descriptors) {
            if libc::dup2(descriptor, number) < 0 {
                return Step::Descriptors;
            }
        }
        // By number, because an older C library has no wrapper for it.
        if libc::syscall(libc::SYS_close_range, count.cast_unsigned(), c_uint::MAX, 0) < 0 {
            return Step::Descriptors;
        }
        if !plan.directory.is_null() && libc::chdir(plan.directory) < 0 {
            return Step::Directory;
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::execve(plan.program, plan.arguments, plan.environment);
        Step::Exec
    }
}

/// Writes the line of a group. Returns whether the file accepted it.
///
/// # Safety
/// Only for the child of [`spawn`]. It makes one system call, and allocates
/// nothing.
unsafe fn write_slot(list: RawFd, offset: u64, group: libc::pid_t) -> bool {
    let line = group_line(group.unsigned_abs());
    let Ok(offset) = libc::off64_t::try_from(offset) else {
        return false;
    };
    // SAFETY: Pointer and length are those of an array that is only read.
    let written = unsafe { libc::pwrite64(list, line.as_ptr().cast(), line.len(), offset) };
    usize::try_from(written) == Ok(line.len())
}

/// Makes every fork of this process close this descriptor. Otherwise it would
/// stay open as long as the fork lives. Only the last given descriptor counts.
pub(crate) fn close_in_forks(descriptor: &impl AsFd) {
    static REGISTERED: Once = Once::new();
    IN_FORKS.store(descriptor.as_fd().as_raw_fd(), Ordering::Release);
    // SAFETY: The handler makes one system call, and uses an atomic.
    REGISTERED.call_once(|| unsafe {
        // It fails only without memory; then forks keep it open.
        libc::pthread_atfork(None, None, Some(close_in_fork));
    });
}

/// Call it before the descriptor is closed, because its number can then be
/// another descriptor.
pub(crate) fn leave_to_forks(descriptor: &impl AsFd) {
    let number = descriptor.as_fd().as_raw_fd();
    // If it is not the last given descriptor, there is nothing to do.
    let _ = IN_FORKS.compare_exchange(number, -1, Ordering::AcqRel, Ordering::Acquire);
}

/// The descriptor that forks close; -1 for none.
static IN_FORKS: AtomicI32 = AtomicI32::new(-1);

extern "C" fn close_in_fork() {
    let descriptor = IN_FORKS.swap(-1, Ordering::Acquire);
    if descriptor >= 0 {
        // SAFETY: It is the copy, in the fork, of a descriptor that is open in
        // the parent. Its owner is never dropped in a fork.
        unsafe { libc::close(descriptor) };
    }
}

/// How a child ended, from the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Signaled { signal: i32, core_dumped: bool },
}

/// Takes the exit status of an ended child; `None` if something else took it,
/// or the child still runs.
pub(crate) fn reap(pidfd: &OwnedFd) -> Option<Ended> {
    take_status(pidfd, libc::WNOHANG).ok().flatten()
}

/// Reaps a child that did not become its program. It ends just after it
/// releases our memory, so this may block for an instant.
pub(crate) fn reap_failed(child: &Spawned) {
    let interrupted = |error: &io::Error| error.kind() == io::ErrorKind::Interrupted;
    while take_status(&child.pidfd, 0).is_err_and(|error| interrupted(&error)) {}
}

fn take_status(pidfd: &OwnedFd, flags: c_int) -> io::Result<Option<Ended>> {
    let id = libc::id_t::from(pidfd.as_raw_fd().cast_unsigned());
    // SAFETY: `info` is plain data, and only read where the call succeeded;
    // the kernel filled the fields of a child's end then.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | flags;
        if libc::waitid(libc::P_PIDFD, id, &raw mut info, flags) < 0 {
            return Err(io::Error::last_os_error());
        }
        if info.si_pid() == 0 {
            return Ok(None);
        }
        Ok(Some(match info.si_code {
            libc::CLD_EXITED => Ended::Exited(info.si_status()),
            code => Ended::Signaled {
                signal: info.si_status(),
                core_dumped: code == libc::CLD_DUMPED,
            },
        }))
    }
}

/// Whether a child has ended. Its status can still be taken.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    let id = libc::id_t::from(pidfd.as_raw_fd().cast_unsigned());
    // SAFETY: As in `reap`. An error means that something else reaped it.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        libc::waitid(libc::P_PIDFD, id, &raw mut info, flags) < 0 || info.si_pid() != 0
    }
}

/// Sends a signal to every process of the group that a child leads. The child
/// must not have been reaped: until then nothing else has its id.
pub(crate) fn signal_group(leader: u32, signal: i32) {
    let Ok(group @ 2..) = libc::pid_t::try_from(leader) else {
        return;
    };
    // SAFETY: No memory is involved. It fails only if the group is empty.
    unsafe { libc::kill(-group, signal) };
}

/// Whether the group of this leader has a process, even an ended one.
pub(crate) fn group_exists(leader: u32) -> bool {
    let Ok(group @ 2..) = libc::pid_t::try_from(leader) else {
        return false;
    };
    // SAFETY: No memory is involved, and signal 0 is not sent.
    let sent = unsafe { libc::kill(-group, 0) };
    sent == 0 || io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// A descriptor for a process, also for an ended process before it is reaped.
pub(crate) fn open_process(pid: u32) -> io::Result<OwnedFd> {
    let number = libc::pid_t::try_from(pid).unwrap_or(-1);
    // SAFETY: It takes only numbers; the kernel made the descriptor for us.
    unsafe {
        match libc::syscall(libc::SYS_pidfd_open, number, 0) {
            descriptor @ 0.. => Ok(OwnedFd::from_raw_fd(
                RawFd::try_from(descriptor).unwrap_or(RawFd::MAX),
            )),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Sends a signal to exactly the process of the descriptor.
pub(crate) fn signal_process(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    let info = ptr::null::<libc::siginfo_t>();
    let number = pidfd.as_raw_fd();
    // SAFETY: Numbers, and a null pointer, which makes the kernel fill in what
    // `kill` sends.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, number, signal, info, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the process of a descriptor has ended, a child or not; waits up to
/// `limit` for that.
pub(crate) fn ends_within(pidfd: &OwnedFd, limit: Duration) -> bool {
    let mut watched = watched(pidfd.as_raw_fd(), libc::POLLIN);
    let limit = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: One structure, which outlives the call.
    unsafe { libc::poll(&raw mut watched, 1, limit) > 0 }
}

/// Whether the other end of each descriptor was closed by all its owners. The
/// numbers may be closed.
pub(crate) fn hung_up(descriptors: impl Iterator<Item = RawFd>) -> Vec<bool> {
    let mut all: Vec<_> = descriptors.map(|number| watched(number, 0)).collect();
    // SAFETY: The count is that of the structures, which outlive the call. On
    // an error they are unchanged: then nothing has hung up.
    unsafe { libc::poll(all.as_mut_ptr(), all.len() as libc::nfds_t, 0) };
    let closed = libc::POLLHUP | libc::POLLNVAL;
    all.iter().map(|it| it.revents & closed != 0).collect()
}

fn watched(descriptor: RawFd, events: libc::c_short) -> libc::pollfd {
    libc::pollfd {
        fd: descriptor,
        events,
        revents: 0,
    }
}

/// The inode of a descriptor, which `/proc/PID/fd` also shows; `None` if the
/// number is closed.
pub(crate) fn inode(descriptor: RawFd) -> Option<u64> {
    // SAFETY: Plain data, which the call fills where it succeeds.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::fstat(descriptor, &raw mut stat) == 0).then_some(stat.st_ino)
    }
}

/// Whether this process becomes the parent of orphans: as the first process of
/// a container, or by `PR_SET_CHILD_SUBREAPER`.
pub(crate) fn adopts_orphans() -> bool {
    let mut wished: c_int = 0;
    // SAFETY: The call writes an int at this address.
    let told = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut wished) == 0 };
    (told && wished != 0) || std::process::id() == 1
}

/// Makes reads and writes of a descriptor non-blocking, or blocking. Returns
/// whether they were non-blocking before.
pub(crate) fn set_nonblocking(descriptor: &impl AsFd, on: bool) -> io::Result<bool> {
    let number = descriptor.as_fd().as_raw_fd();
    // SAFETY: No memory is involved, and the descriptor is borrowed.
    let flags = unsafe { libc::fcntl(number, libc::F_GETFL) };
    if flags < 0 {
        return Err(io::Error::last_os_error());
    }
    let wanted = if on {
        flags | libc::O_NONBLOCK
    } else {
        flags & !libc::O_NONBLOCK
    };
    // SAFETY: As above.
    if wanted != flags && unsafe { libc::fcntl(number, libc::F_SETFL, wanted) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(flags & libc::O_NONBLOCK != 0)
}

/// A terminal's settings (`termios(3)`).
#[derive(Clone, Copy)]
pub(crate) struct TerminalMode(libc::termios);

impl TerminalMode {
    /// The current settings of a terminal.
    pub(crate) fn of(terminal: &impl AsFd) -> io::Result<Self> {
        // SAFETY: Plain data, which the call fills where it succeeds.
        unsafe {
            let mut mode: libc::termios = std::mem::zeroed();
            let number = terminal.as_fd().as_raw_fd();
            if libc::tcgetattr(number, &raw mut mode) < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(mode))
        }
    }

    /// The same settings, but every byte passes at once and unchanged.
    pub(crate) fn raw(mut self) -> Self {
        // SAFETY: It changes only the given data.
        unsafe { libc::cfmakeraw(&raw mut self.0) };
        self
    }

    /// Sets these settings on a terminal, now; also in its background.
    pub(crate) fn set(&self, terminal: &impl AsFd) -> io::Result<()> {
        let number = terminal.as_fd().as_raw_fd();
        unstopped(|| {
            // SAFETY: The call only reads the settings.
            if unsafe { libc::tcsetattr(number, libc::TCSANOW, &raw const self.0) } < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        })
    }

    /// Whether both are the same, except for the speed.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let flags = |it: &Self| [it.0.c_iflag, it.0.c_oflag, it.0.c_cflag, it.0.c_lflag];
        flags(self) == flags(other) && self.0.c_cc == other.0.c_cc
    }
}

/// Whether a terminal is ours, and we are in its background. A process that
/// reads it then, or changes its mode, is stopped with its group
/// (`termios(3)`).
pub(crate) fn is_in_background(terminal: &impl AsFd) -> bool {
    let number = terminal.as_fd().as_raw_fd();
    // SAFETY: These calls use no memory.
    unsafe {
        // If it is no terminal, or of another session, it stops nothing here.
        libc::tcgetsid(number) == libc::getsid(0) && libc::tcgetpgrp(number) != libc::getpgrp()
    }
}

/// Runs an action on a terminal without being stopped for it. In the
/// background, the action fails (EIO) or takes effect.
pub(crate) fn unstopped<T>(action: impl FnOnce() -> T) -> T {
    // SAFETY: Plain data, which the calls fill and read. The mask at the end is
    // the one from before. While these signals are blocked, they are not even
    // sent.
    unsafe {
        let mut stops: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut stops);
        libc::sigaddset(&raw mut stops, libc::SIGTTIN);
        libc::sigaddset(&raw mut stops, libc::SIGTTOU);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const stops, &raw mut before);
        let done = action();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        done
    }
}

/// Waits until a descriptor is writable. Returns whether it is.
pub(crate) fn wait_writable(descriptor: &impl AsFd, limit: Duration) -> bool {
    let mut watched = watched(descriptor.as_fd().as_raw_fd(), libc::POLLOUT);
    let limit = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: One structure, which outlives the call.
    unsafe { libc::poll(&raw mut watched, 1, limit) > 0 }
}

/// The device of a terminal, whatever name it was opened by (`ioctl_tty(2)`).
pub(crate) fn terminal_device(terminal: &impl AsFd) -> io::Result<u64> {
    let mut device: libc::c_uint = 0;
    let number = terminal.as_fd().as_raw_fd();
    // SAFETY: The call writes an unsigned int at this address.
    if unsafe { libc::ioctl(number, libc::TIOCGDEV, &raw mut device) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(device))
}

/// Runs this when the process exits by itself (`exit`, the end of `main`).
pub(crate) fn at_exit(handler: extern "C" fn()) {
    // SAFETY: The handler is our function, which does not unwind. It fails only
    // without memory; then the handler does not run.
    unsafe { libc::atexit(handler) };
}

/// The user that owns new files.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: It has no requirements and cannot fail.
    unsafe { libc::geteuid() }
}

/// The id of this process, as a child sees it in `getppid`.
fn parent_id() -> libc::pid_t {
    // SAFETY: It has no requirements and cannot fail.
    unsafe { libc::getpid() }
}

#[cfg(test)]
mod tests;
