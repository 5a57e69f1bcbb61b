//! Watching a descriptor for what it is ready for, and the descriptor that is
//! ready at a time; the crate's only unsafe file.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor under the engine's watch, as long as it is borrowed.
pub(super) type Watched<'fd> = AsyncFd<BorrowedFd<'fd>>;

/// Watches a non-blocking descriptor. To be called on the engine.
pub(super) fn watch(descriptor: BorrowedFd<'_>, interest: Interest) -> io::Result<Watched<'_>> {
    // SAFETY: A borrowed descriptor is open, and the same one, for as long as
    // its lifetime lasts, and the watch cannot outlive that.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, interest) }?)
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

/// A clock that rings once, at the time that was set last (`timerfd`).
#[derive(Debug)]
pub(super) struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    /// To be called within the engine's runtime.
    pub(super) fn new() -> io::Result<Self> {
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
    pub(super) fn set(&self, after: Option<Duration>) {
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
    pub(super) async fn rings(&self) {
        // Setting it takes the ring back, so there is nothing to be read.
        if let Ok(mut rung) = self.0.readable().await {
            rung.clear_ready();
        }
    }
}
