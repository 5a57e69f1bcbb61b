//! Watches descriptors for readiness, and makes two that become ready on demand: a
//! bell and an alarm. The crate's only file with unsafe code.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A borrowed descriptor that the engine watches.
pub(crate) type Watched<'fd> = AsyncFd<BorrowedFd<'fd>>;

/// Watches a non-blocking descriptor. Call it on the engine.
pub(crate) fn watch(descriptor: BorrowedFd<'_>, interest: Interest) -> io::Result<Watched<'_>> {
    // SAFETY: A borrowed descriptor stays open, and is not reused, for its
    // lifetime. The watch cannot outlive that.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

/// A socket that the engine watches. The watch owns a reference to it.
pub(crate) type SharedWatch = AsyncFd<Arc<Socket>>;

/// Watches a non-blocking socket for reading. Call it within the engine's
/// runtime.
pub(crate) fn watch_shared(socket: Arc<Socket>) -> io::Result<SharedWatch> {
    // SAFETY: The watch owns a reference to the socket, so the descriptor stays
    // open, and is not reused, while the watch exists.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}

/// The same for reading and writing.
pub(crate) fn watch_both(socket: Arc<Socket>) -> io::Result<SharedWatch> {
    let both = Interest::READABLE | Interest::WRITABLE;
    // SAFETY: As above.
    Ok(unsafe { AsyncFd::register_with_interest(socket, both) }?)
}

/// Waits until `descriptor` is readable. Runs on the engine.
///
/// # Errors
/// The descriptor cannot be watched: it is a regular file, or no memory is left.
pub async fn readable(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    watch(descriptor, Interest::READABLE)?
        .readable()
        .await
        .map(|mut ready| ready.retain_ready())
}

/// Waits until `descriptor` is writable. Runs on the engine.
///
/// # Errors
/// As for [`readable`].
pub async fn writable(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    watch(descriptor, Interest::WRITABLE)?
        .writable()
        .await
        .map(|mut ready| ready.retain_ready())
}

/// Wakes a thread that waits for a socket (`eventfd`).
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK;
        // SAFETY: It takes only numbers, and the kernel's new descriptor belongs to
        // no other owner.
        unsafe {
            match libc::eventfd(0, flags) {
                bell @ 0.. => Ok(Self(OwnedFd::from_raw_fd(bell))),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    pub(crate) fn ring(&self) {
        let once = 1_u64.to_ne_bytes();
        // SAFETY: `once` outlives the call, which only reads it. It fails only if
        // the counter is full, and then the bell has rung already.
        unsafe { libc::write(self.0.as_raw_fd(), once.as_ptr().cast(), once.len()) };
    }

    /// Waits until it rings, `other` is readable or has ended, or `limit` has
    /// passed. Returns whether `other` is readable or has ended.
    ///
    /// # Errors
    /// `Interrupted` if a signal handler ran on this thread.
    pub(crate) fn wait_beside(
        &self,
        other: Option<BorrowedFd<'_>>,
        limit: Option<Duration>,
    ) -> io::Result<bool> {
        let watched = |descriptor| libc::pollfd {
            fd: descriptor,
            events: libc::POLLIN,
            revents: 0,
        };
        // The kernel ignores a negative descriptor.
        let other = other.map_or(-1, |other| other.as_raw_fd());
        let mut both = [watched(other), watched(self.0.as_raw_fd())];
        // Rounded up: a shorter wait would return before the limit. -1 is no limit.
        let limit = limit.map_or(-1, |limit| {
            i32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        // SAFETY: `both` outlives the call, which writes no more than these two.
        if unsafe { libc::poll(both.as_mut_ptr(), 2, limit) } < 0 {
            return Err(io::Error::last_os_error());
        }
        if both[1].revents != 0 {
            self.hush();
        }
        Ok(both[0].revents != 0)
    }

    fn hush(&self) {
        let mut rung = 0_u64.to_ne_bytes();
        // SAFETY: `rung` outlives the call, which writes no more than it holds.
        unsafe { libc::read(self.0.as_raw_fd(), rung.as_mut_ptr().cast(), rung.len()) };
    }
}

/// An alarm that rings once, at the time that was set last (`timerfd`).
#[derive(Debug)]
pub(crate) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// Call it within the engine's runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: It takes only numbers, and the kernel's new descriptor belongs to
        // no other owner.
        let clock = unsafe {
            match libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) {
                clock @ 0.. => OwnedFd::from_raw_fd(clock),
                _ => return Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: The watch owns the descriptor, and closes it when it has ended.
        Ok(Self(unsafe {
            AsyncFd::register_with_interest(clock, Interest::READABLE)
        }?))
    }

    /// Sets the alarm to ring after this time, instead of an earlier setting. With
    /// `None` it never rings.
    pub(crate) fn set(&self, after: Option<Duration>) {
        // For the kernel, zero means never.
        let after = after.map_or(Duration::ZERO, |it| it.max(Duration::from_nanos(1)));
        let mut time = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: libc::time_t::try_from(after.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: 0,
            },
        };
        time.it_value.tv_nsec = after.subsec_nanos().into();
        let clock = self.0.get_ref().as_raw_fd();
        // SAFETY: `time` outlives the call, which only reads it. The time is in
        // range and the descriptor is a timer, so it cannot fail.
        unsafe { libc::timerfd_settime(clock, 0, &raw const time, std::ptr::null_mut()) };
    }

    /// Waits until it rings. It also returns if it rang before it was set again.
    pub(crate) async fn rings(&self) {
        // Setting the alarm resets its counter, so it need not be read.
        if let Ok(mut rung) = self.0.readable().await {
            rung.clear_ready();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::os::unix::thread::JoinHandleExt;
    use std::sync::mpsc;
    use std::thread;

    use crate::wait::{Periodic, wait_checking};

    use super::*;

    extern "C" fn ignore(_signal: libc::c_int) {}

    #[test]
    fn a_signal_to_the_waiting_thread_runs_its_check_at_once() {
        // SAFETY: The handler does nothing. A zeroed action has an empty mask and
        // no flags, and outlives the call.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(libc::c_int) = ignore;
            action.sa_sigaction = handler as usize;
            // Restarted calls would hide the signal, but `poll` never restarts.
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
        }
        let (ended, has_ended) = mpsc::channel();
        let waits = thread::spawn(move || {
            let hourly = Periodic::new(|| Err("checked"), Duration::from_secs(3600));
            let outcome = wait_checking(pending::<()>(), hourly);
            ended.send(outcome).unwrap();
        });
        // It may not wait yet, so one signal may come too early.
        let outcome = loop {
            // SAFETY: The thread is not joined yet, so its id is valid.
            unsafe { libc::pthread_kill(waits.as_pthread_t(), libc::SIGUSR1) };
            if let Ok(outcome) = has_ended.recv_timeout(Duration::from_millis(10)) {
                break outcome;
            }
        };
        assert_eq!(outcome, Err("checked"));
        waits.join().unwrap();
    }

    #[test]
    fn a_bell_waits_no_longer_than_its_limit() {
        let bell = Bell::new().unwrap();
        let start = std::time::Instant::now();
        let limit = Duration::from_millis(5);
        assert!(!bell.wait_beside(None, Some(limit)).unwrap());
        assert!(start.elapsed() >= limit);
    }
}
