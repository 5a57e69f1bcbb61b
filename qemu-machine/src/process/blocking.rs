//! Runs work that blocks in a thread, so that no task of the engine waits.

use std::io;
use std::thread;

use qemu_qmp_engine::oneshot;

/// Runs this in a thread. If nobody waits any more, the work goes on to its end,
/// and its result is dropped.
pub(crate) async fn in_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let (sender, done) = oneshot::channel();
    let thread = thread::Builder::new().name("template".to_owned());
    thread.spawn(move || {
        let _ = sender.send(work());
    })?;
    let lost = |_| Err(io::Error::other("the thread panicked"));
    done.await.unwrap_or_else(lost)
}
