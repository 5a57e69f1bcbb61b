//! The system calls that the standard library does not offer; the crate's
//! only unsafe file.
//!
//! [`spawn`] starts a program the way `vfork` does: the child borrows this
//! process's memory until it has become the program, so it costs the same
//! from a small process and from a large one. Between, the child only makes
//! system calls: it allocates nothing, takes no lock and runs no handler.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// What a program is started with. All is prepared, for the child may not
/// allocate.
pub(crate) struct Image<'a> {
    pub(crate) program: &'a CString,
    pub(crate) arguments: &'a [CString],
    pub(crate) environment: &'a [CString],
    pub(crate) directory: Option<&'a CString>,
    /// The child's descriptors 0, 1, 2, …; it has no others.
    pub(crate) descriptors: &'a [RawFd],
    /// Where the child enters its process group before it becomes the program.
    pub(crate) group_slot: Option<GroupSlot<'a>>,
    /// Whether the kernel kills it when the calling *thread* ends.
    pub(crate) dies_with_us: bool,
}

/// A line of a list of process groups, which is a file.
pub(crate) struct GroupSlot<'a> {
    pub(crate) list: BorrowedFd<'a>,
    pub(crate) offset: u64,
}

/// A line of that list: nine digits and its end.
pub(crate) type GroupLine = [u8; 10];

/// One without a group.
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

/// A child that has become its program.
#[derive(Debug)]
pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
    /// Whether it has entered itself.
    pub(crate) is_listed: bool,
}

/// A child that has not become its program.
#[derive(Debug)]
pub(crate) struct NotSpawned {
    pub(crate) step: Step,
    pub(crate) cause: io::Error,
    /// As good as gone, but to be reaped; `None` where there was none.
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

/// Starts a program as the leader of its own process group.
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
    // Room for the duplicates that are made on the way.
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
    // SAFETY: The sets are initialised by sigfillset before they are read, and
    // both outlive the calls. `child` gets a stack of its own, whose top is
    // aligned as a u128 is, and `plan`; CLONE_VFORK holds this thread until the
    // child has left both alone. Signals are blocked meanwhile, so that no
    // handler of the program's runs in the child, in our memory.
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
        // A kernel before 5.2, or a sandbox that passes the flag over.
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

/// What the child reads, and where it leaves why it failed.
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
    // SAFETY: `spawn` passes a plan that nobody else touches until we exec or
    // exit, and whose pointers are as long as their counts, or end in null.
    unsafe {
        let plan = &mut *plan.cast::<Plan>();
        let step = become_program(plan);
        plan.failure = Some((step, *libc::__errno_location()));
        libc::_exit(127)
    }
}

/// Returns only on failure, with the step whose error stands in `errno`.
///
/// # Safety
/// Only for the child of [`spawn`], with its plan.
unsafe fn become_program(plan: &mut Plan) -> Step {
    // SAFETY: System calls only, on memory that the plan holds; see `child`.
    unsafe {
        // A handler of ours must not run once signals are let in again, and
        // what we ignore is no concern of QEMU's.
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::setpgid(0, 0);
        if plan.dies_with_us {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        let parent = libc::getppid();
        if parent != plan.parent && parent != 0 && plan.dies_with_us {
            // It died before the wish was made, so nobody is told.
            libc::_exit(127);
        }
        // A parent in another namespace of process ids, by whose ids the group
        // is to be known, tells them itself.
        if parent == plan.parent && plan.slot_list >= 0 {
            plan.is_listed = write_slot(plan.slot_list, plan.slot_offset, libc::getpid());
        }
        let count = c_int::try_from(plan.descriptor_count).unwrap_or(c_int::MAX);
        let descriptors = std::slice::from_raw_parts_mut(plan.descriptors, plan.descriptor_count);
        // First all out of the way, as a number may be both given and wanted.
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
        // By number, for an older C library has no wrapper for it.
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

/// Writes a group's line. Whether the file took it.
///
/// # Safety
/// Only for the child of [`spawn`]: it makes one system call, and allocates
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

/// Has every fork of this process close this descriptor, which else would stay
/// open for as long as the fork lives. Only the last one that was given counts.
pub(crate) fn close_in_forks(descriptor: &impl AsFd) {
    static REGISTERED: Once = Once::new();
    IN_FORKS.store(descriptor.as_fd().as_raw_fd(), Ordering::Release);
    // SAFETY: The handler makes one system call, and uses an atomic.
    REGISTERED.call_once(|| unsafe {
        // It fails only where memory is out; then forks keep it open.
        libc::pthread_atfork(None, None, Some(close_in_fork));
    });
}

/// To be called before the descriptor is closed: its number is another's then.
pub(crate) fn leave_to_forks(descriptor: &impl AsFd) {
    let number = descriptor.as_fd().as_raw_fd();
    // Where it is not the last one that was given, there is nothing to do.
    let _ = IN_FORKS.compare_exchange(number, -1, Ordering::AcqRel, Ordering::Acquire);
}

/// The descriptor that forks close; -1 for none.
static IN_FORKS: AtomicI32 = AtomicI32::new(-1);

extern "C" fn close_in_fork() {
    let descriptor = IN_FORKS.swap(-1, Ordering::Acquire);
    if descriptor >= 0 {
        // SAFETY: It is the fork's own copy of a descriptor that is open in
        // the parent, and whose owner is never dropped in a fork.
        unsafe { libc::close(descriptor) };
    }
}

/// How a child ended: what the kernel tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Signaled { signal: i32, core_dumped: bool },
}

/// Takes the exit status of a child that has ended; `None` where somebody else
/// has taken it, or it is not ended.
pub(crate) fn reap(pidfd: &OwnedFd) -> Option<Ended> {
    take_status(pidfd, libc::WNOHANG).ok().flatten()
}

/// Reaps a child that has not become its program. It let go of our memory just
/// before it can be reaped, so this may wait for an instant.
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

/// Whether a child has ended; its status stays to be taken.
pub(crate) fn has_ended(pidfd: &OwnedFd) -> bool {
    let id = libc::id_t::from(pidfd.as_raw_fd().cast_unsigned());
    // SAFETY: As in `reap`. An error is that somebody else has reaped it.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        libc::waitid(libc::P_PIDFD, id, &raw mut info, flags) < 0 || info.si_pid() != 0
    }
}

/// Sends a signal to every process of the group that a child leads. The child
/// must not have been reaped: until then its id is nobody else's.
pub(crate) fn signal_group(leader: u32, signal: i32) {
    let Ok(group @ 2..) = libc::pid_t::try_from(leader) else {
        return;
    };
    // SAFETY: No memory is involved. It fails only where nobody is left.
    unsafe { libc::kill(-group, signal) };
}

/// A descriptor for a process; for one that has ended too, until it is reaped.
pub(crate) fn open_process(pid: u32) -> io::Result<OwnedFd> {
    let number = libc::pid_t::try_from(pid).unwrap_or(-1);
    // SAFETY: It takes numbers alone; the kernel made the descriptor for us.
    unsafe {
        match libc::syscall(libc::SYS_pidfd_open, number, 0) {
            descriptor @ 0.. => Ok(OwnedFd::from_raw_fd(
                RawFd::try_from(descriptor).unwrap_or(RawFd::MAX),
            )),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Sends a signal to the very process that the descriptor stands for.
pub(crate) fn signal_process(pidfd: &OwnedFd, signal: i32) -> io::Result<()> {
    let info = ptr::null::<libc::siginfo_t>();
    let number = pidfd.as_raw_fd();
    // SAFETY: Numbers, and a null for which the kernel takes what `kill` sends.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, number, signal, info, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the process of a descriptor has ended, be it our child or not;
/// waits for that no longer than this.
pub(crate) fn ends_within(pidfd: &OwnedFd, limit: Duration) -> bool {
    let mut watched = watched(pidfd.as_raw_fd(), libc::POLLIN);
    let limit = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: One structure, which outlives the call.
    unsafe { libc::poll(&raw mut watched, 1, limit) > 0 }
}

/// Whether the other end of each of these has been closed by everybody who had
/// it. The numbers need not be open.
pub(crate) fn hung_up(descriptors: impl Iterator<Item = RawFd>) -> Vec<bool> {
    let mut all: Vec<_> = descriptors.map(|number| watched(number, 0)).collect();
    // SAFETY: As many structures as are told, which outlive the call. An error
    // leaves them as they are: then nothing has hung up.
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

/// What is behind a descriptor, by its number in `/proc/PID/fd`; `None` where
/// none of this number is open.
pub(crate) fn inode(descriptor: RawFd) -> Option<u64> {
    // SAFETY: Plain data, which the call fills where it succeeds.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        (libc::fstat(descriptor, &raw mut stat) == 0).then_some(stat.st_ino)
    }
}

/// Whether this process becomes the parent of orphans: as the first one of a
/// container, or by its own wish (`PR_SET_CHILD_SUBREAPER`).
pub(crate) fn adopts_orphans() -> bool {
    let mut wished: c_int = 0;
    // SAFETY: The call writes an int where it is told to.
    let told = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut wished) == 0 };
    (told && wished != 0) || std::process::id() == 1
}

/// Has reads and writes of a descriptor return at once, or wait again. Whether
/// they returned at once before.
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
    /// That of a terminal now.
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

    /// The same, but every byte goes through at once and as it is.
    pub(crate) fn raw(mut self) -> Self {
        // SAFETY: It changes but the data that it is given.
        unsafe { libc::cfmakeraw(&raw mut self.0) };
        self
    }

    /// Gives a terminal these settings, now; also in its background.
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

    /// Whether both are the same, but for the speed.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let flags = |it: &Self| [it.0.c_iflag, it.0.c_oflag, it.0.c_cflag, it.0.c_lflag];
        flags(self) == flags(other) && self.0.c_cc == other.0.c_cc
    }
}

/// Whether a terminal is ours, and we are in its background: who reads it then, or
/// changes its mode, is stopped with all of its process group (`termios(3)`).
pub(crate) fn is_in_background(terminal: &impl AsFd) -> bool {
    let number = terminal.as_fd().as_raw_fd();
    // SAFETY: None of these calls has to do with memory.
    unsafe {
        // What is no terminal, or another session's, stops nobody here.
        libc::tcgetsid(number) == libc::getsid(0) && libc::tcgetpgrp(number) != libc::getpgrp()
    }
}

/// Does something to a terminal without being stopped for it. What must not be
/// done in the background fails then (EIO), or is done.
pub(crate) fn unstopped<T>(action: impl FnOnce() -> T) -> T {
    // SAFETY: Plain data, which the calls fill and read; the mask that is set at
    // the end is the one that was there. Blocked, these signals are not even sent.
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

/// Waits until a descriptor can be written. Whether it can.
pub(crate) fn wait_writable(descriptor: &impl AsFd, limit: Duration) -> bool {
    let mut watched = libc::pollfd {
        fd: descriptor.as_fd().as_raw_fd(),
        events: libc::POLLOUT,
        revents: 0,
    };
    let limit = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
    // SAFETY: One structure, which outlives the call.
    unsafe { libc::poll(&raw mut watched, 1, limit) > 0 }
}

/// Which terminal this is, by whatever name it was opened (`ioctl_tty(2)`).
pub(crate) fn terminal_device(terminal: &impl AsFd) -> io::Result<u64> {
    let mut device: libc::c_uint = 0;
    let number = terminal.as_fd().as_raw_fd();
    // SAFETY: The call writes an unsigned int where it is told to.
    if unsafe { libc::ioctl(number, libc::TIOCGDEV, &raw mut device) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(device))
}

/// Has this run when the process exits by itself (`exit`, the end of `main`).
pub(crate) fn at_exit(handler: extern "C" fn()) {
    // SAFETY: The handler is a function of ours, which does not unwind. It
    // fails only where memory is out; then it does not run.
    unsafe { libc::atexit(handler) };
}

/// The user whose files we make.
pub(crate) fn effective_user() -> u32 {
    // SAFETY: It has no requirements and cannot fail.
    unsafe { libc::geteuid() }
}

/// A file in memory, which is there as long as somebody has it open. The name
/// is for those who look into `/proc`.
pub(crate) fn memory_file(name: &CStr) -> io::Result<File> {
    // SAFETY: The name is a C string, and outlives the call.
    let create = |flags| unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | flags) };
    // Since Linux 6.3; a system may demand it (`vm.memfd_noexec`).
    let mut descriptor = create(libc::MFD_NOEXEC_SEAL);
    if descriptor < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        descriptor = create(0);
    }
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: The kernel made the descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }.into())
}

/// Our id as a child sees it in `getppid`.
fn parent_id() -> libc::pid_t {
    // SAFETY: It has no requirements and cannot fail.
    unsafe { libc::getpid() }
}

#[cfg(test)]
mod tests;
