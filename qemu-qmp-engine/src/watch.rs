//! Watching a descriptor for what it is ready for, and the descriptor that is
//! ready at a time; the crate's only unsafe file.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use socket2::Socket;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor under the engine's watch, as long as it is borrowed.
pub(crate) type Watched<'fd> = AsyncFd<BorrowedFd<'fd>>;

/// Watches a non-blocking descriptor. To be called on the engine.
pub(crate) fn watch(descriptor: BorrowedFd<'_>, interest: Interest) -> io::Result<Watched<'_>> {
    // SAFETY: A borrowed descriptor is open, and the same one, for as long as
    // its lifetime lasts, and the watch cannot outlive that.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
}

/// A socket under the engine's watch, which holds it.
pub(crate) type SharedWatch = AsyncFd<Arc<Socket>>;

/// Watches a non-blocking socket for what can be read. To be called within the
/// engine's runtime.
pub(crate) fn watch_shared(socket: Arc<Socket>) -> io::Result<SharedWatch> {
    // SAFETY: The watch holds the socket, so it is open, and the same one, for
    // as long as the watch lasts.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}

/// Waits until `descriptor` is readable. Runs on the engine.
///
/// # Errors
/// The descriptor cannot be watched: it is a regular file, or memory is out.
pub async fn readable(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    watch(descriptor, Interest::READABLE)?
        .readable()
        .await
        .map(|mut ready| ready.retain_ready())
}

/// Waits until `descriptor` takes what is written. Runs on the engine.
///
/// # Errors
/// As for [`readable`].
pub async fn writable(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    watch(descriptor, Interest::WRITABLE)?
        .writable()
        .await
        .map(|mut ready| ready.retain_ready())
}

/// What a thread waits for beside a socket: somebody who rings (`eventfd`).
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::EFD_CLOEXEC | libc::EFD_NONBLOCK;
        // SAFETY: It takes numbers alone; the kernel made the descriptor for us.
        unsafe {
            match libc::eventfd(0, flags) {
                bell @ 0.. => Ok(Self(OwnedFd::from_raw_fd(bell))),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    pub(crate) fn ring(&self) {
        let once = 1_u64.to_ne_bytes();
        // SAFETY: `once` outlives the call, which only reads it. It fails only
        // where it has rung, and was not heard, times without number.
        unsafe { libc::write(self.0.as_raw_fd(), once.as_ptr().cast(), once.len()) };
    }

    /// Waits until it rings, or `other` is readable or has ended: that is
    /// what is told.
    pub(crate) fn wait_beside(&self, other: BorrowedFd<'_>) -> io::Result<bool> {
        let watched = |descriptor| libc::pollfd {
            fd: descriptor,
            events: libc::POLLIN,
            revents: 0,
        };
        let mut both = [watched(other.as_raw_fd()), watched(self.0.as_raw_fd())];
        // SAFETY: `both` outlives the call, which writes no more than these two.
        if unsafe { libc::poll(both.as_mut_ptr(), 2, -1) } < 0 {
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

/// A clock that rings once, at the time that was set last (`timerfd`).
#[derive(Debug)]
pub(crate) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// To be called within the engine's runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: It takes numbers alone; the kernel made the descriptor for us.
        let clock = unsafe {
            match libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) {
                clock @ 0.. => OwnedFd::from_raw_fd(clock),
                _ => return Err(io::Error::last_os_error()),
            }
        };
        // SAFETY: The watch owns the descriptor, and closes it after itself.
        Ok(Self(unsafe {
            AsyncFd::register_with_interest(clock, Interest::READABLE)
        }?))
    }

    /// Rings so much later, and not when it was to before; with `None` never.
    pub(crate) fn set(&self, after: Option<Duration>) {
        // Zero is the kernel's word for never.
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
        // SAFETY: `time` outlives the call, which only reads it. With a time
        // in range and a clock of ours it cannot fail.
        unsafe { libc::timerfd_settime(clock, 0, &raw const time, std::ptr::null_mut()) };
    }

    /// Waits until it rings, or has been set anew since it rang.
    pub(crate) async fn rings(&self) {
        // Setting it takes the ring back, so there is nothing to be read.
        if let Ok(mut rung) = self.0.readable().await {
            rung.clear_ready();
        }
    }
}
