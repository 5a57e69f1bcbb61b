//! Connects and accepts without blocking a thread.
//!
//! A task on the engine watches the socket, so the waiting future may run under
//! any runtime.

use std::io;
use std::os::fd::AsFd;

use socket2::{SockAddr, Socket};
use tokio::io::Interest;

use crate::watch::watch;
use crate::{AbortWhenDropped, Engine};

/// Connects a non-blocking `socket`.
///
/// # Errors
/// The system error of `connect(2)`.
pub async fn connect(socket: Socket, address: SockAddr) -> io::Result<Socket> {
    on_engine(async move {
        match socket.connect(&address) {
            Ok(()) => return Ok(socket),
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        watch(socket.as_fd(), Interest::WRITABLE)?
            .writable()
            .await?
            .retain_ready();
        match socket.take_error()? {
            Some(error) => Err(error),
            None => Ok(socket),
        }
    })
    .await
}

/// Accepts one connection from a non-blocking listening `socket`.
///
/// # Errors
/// No descriptor is left. That is this process's limit, so it fails at once.
pub async fn accept(socket: &Socket) -> io::Result<Socket> {
    let socket = socket.try_clone()?;
    on_engine(async move {
        let watched = watch(socket.as_fd(), Interest::READABLE)?;
        loop {
            let mut readable = watched.readable().await?;
            match readable.try_io(|_| socket.accept()) {
                // The peer has closed the connection already.
                Err(_) => {}
                Ok(Err(error)) if is_error_of_one_peer(&error) => {}
                Ok(accepted) => return accepted.map(|(accepted, _)| accepted),
            }
        }
    })
    .await
}

/// Whether `accept(2)` reports an error of one connection, and not of the listening
/// socket.
fn is_error_of_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    ) || error.raw_os_error() == Some(libc::EPROTO)
}

/// Runs `task` on the engine, and aborts it when this future is dropped.
async fn on_engine<T: Send + 'static>(
    task: impl Future<Output = io::Result<T>> + Send + 'static,
) -> io::Result<T> {
    let engine = Engine::start()?;
    if engine.is_current_thread() {
        // On the engine itself: if this is dropped, its socket is closed at once.
        return task.await;
    }
    let mut task = AbortWhenDropped(engine.spawn(task));
    (&mut task.0)
        .await
        .unwrap_or_else(|| Err(io::Error::other("the engine dropped the task")))
}
