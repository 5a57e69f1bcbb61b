//! Calls without a safe form in std: inherited descriptors, and signals. All
//! `unsafe` code of this program is here.
#![allow(unsafe_code)]

use libc::c_int;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A signal by its number on this system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Signal(c_int);

impl Signal {
    pub(crate) const HUP: Self = Self(libc::SIGHUP);
    pub(crate) const INT: Self = Self(libc::SIGINT);
    pub(crate) const TERM: Self = Self(libc::SIGTERM);
    pub(crate) const STOP: Self = Self(libc::SIGSTOP);

    /// The signal of a full name, such as `SIGTERM`.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|&(_, number)| Self(number))
            .ok_or_else(|| format!("no signal is called `{name}`"))
    }
}

/// Takes over a descriptor that this process inherited. Each number only once.
pub(crate) fn adopt(descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_GETFD reads a flag, and only fails if the number is not open.
    check(unsafe { libc::fcntl(descriptor, libc::F_GETFD) })?;
    // SAFETY: the check above shows that the descriptor is open. The command line
    // refuses the standard streams and any number that comes twice, so nothing
    // else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Lets programs that this one starts inherit the descriptor.
pub(crate) fn make_inheritable(descriptor: &impl AsFd) -> io::Result<()> {
    let descriptor = descriptor.as_fd().as_raw_fd();
    // SAFETY: F_SETFD changes one flag of a borrowed descriptor.
    check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) }).map(drop)
}

/// Sends as much as the socket accepts at once, and never waits for its reader.
pub(crate) fn send_at_once(socket: &impl AsFd, bytes: &[u8]) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let socket = socket.as_fd().as_raw_fd();
    // SAFETY: pointer and length are those of a live slice, which is only read.
    unsafe { libc::send(socket, bytes.as_ptr().cast(), bytes.len(), flags) };
}

/// Ignores a signal from now on.
pub(crate) fn ignore(signal: Signal) -> io::Result<()> {
    set_disposition(signal, libc::SIG_IGN).map(drop)
}

/// Runs a closure while the signals are ignored. A program that it starts also
/// ignores them from its start, because exec keeps that.
pub(crate) fn while_ignoring<T>(
    signals: &[Signal],
    action: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let mut previous = Vec::new();
    for &signal in signals {
        previous.push((signal, set_disposition(signal, libc::SIG_IGN)?));
    }
    let outcome = action();
    for (signal, disposition) in previous {
        set_disposition(signal, disposition)?;
    }
    outcome
}

/// Sends this thread a signal.
pub(crate) fn raise(signal: Signal) {
    // SAFETY: raise takes any number; this program installs no handlers.
    unsafe { libc::raise(signal.0) };
}

/// Dies by the signal, without a core dump. Returns only if it does not kill.
pub(crate) fn die(signal: Signal) {
    // A resource limit of 0 would still start a program in core_pattern.
    // SAFETY: this option takes one number and touches no memory.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
    // Fails for SIGKILL and SIGSTOP, which always have their default.
    let _ = set_disposition(signal, libc::SIG_DFL);
    // On Linux a thread may unblock a signal that `block` has blocked.
    change_mask(libc::SIG_UNBLOCK, &[signal]);
    raise(signal);
}

/// Blocks the signals in this thread and in threads that it starts later, so that
/// `wait_for` receives them.
pub(crate) fn block(signals: &[Signal]) {
    change_mask(libc::SIG_BLOCK, signals);
}

/// Waits until one of these blocked signals comes.
pub(crate) fn wait_for(signals: &[Signal]) {
    let set = set_of(signals);
    let mut which = 0;
    // SAFETY: both point to live values; the set was initialized by `set_of`.
    unsafe { libc::sigwait(&raw const set, &raw mut which) };
}

fn change_mask(how: c_int, signals: &[Signal]) {
    let set = set_of(signals);
    // SAFETY: the set is initialized, and the old mask is not requested.
    unsafe { libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut()) };
}

fn set_of(signals: &[Signal]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initializes the set, and cannot fail; sigaddset changes
    // an initialized set only.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal.0);
        }
        set.assume_init()
    }
}

fn set_disposition(
    signal: Signal,
    disposition: libc::sighandler_t,
) -> io::Result<libc::sighandler_t> {
    // SAFETY: callers pass SIG_IGN, SIG_DFL, or the result of an earlier call, so
    // no function of this program ever runs as a handler.
    match unsafe { libc::signal(signal.0, disposition) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        previous => Ok(previous),
    }
}

fn check(result: c_int) -> io::Result<c_int> {
    if result == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

const NAMES: &[(&str, c_int)] = &[
    ("SIGABRT", libc::SIGABRT),
    ("SIGALRM", libc::SIGALRM),
    ("SIGBUS", libc::SIGBUS),
    ("SIGCHLD", libc::SIGCHLD),
    ("SIGCONT", libc::SIGCONT),
    ("SIGFPE", libc::SIGFPE),
    ("SIGHUP", libc::SIGHUP),
    ("SIGILL", libc::SIGILL),
    ("SIGINT", libc::SIGINT),
    ("SIGKILL", libc::SIGKILL),
    ("SIGPIPE", libc::SIGPIPE),
    ("SIGQUIT", libc::SIGQUIT),
    ("SIGSEGV", libc::SIGSEGV),
    ("SIGSYS", libc::SIGSYS),
    ("SIGTERM", libc::SIGTERM),
    ("SIGTRAP", libc::SIGTRAP),
    ("SIGUSR1", libc::SIGUSR1),
    ("SIGUSR2", libc::SIGUSR2),
    ("SIGXCPU", libc::SIGXCPU),
];
