//! Watching a descriptor for what it is ready for; the crate's only unsafe
//! file.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;

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
