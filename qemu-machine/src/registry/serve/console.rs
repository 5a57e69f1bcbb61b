//! Serves one client of a console: first what the ring has, then what comes. The
//! client's bytes go to the guest.

use std::future::pending;
use std::io;
use std::pin::pin;

use qemu_qmp_engine::{self as engine, PacedSocket, Watched, first, race};

use super::{Closing, PIECE_BYTES, closed, while_there};
use crate::console::{Console, SendError};

/// Serves the client until it or the machine ends.
///
/// # Errors
/// The client has gone.
pub(super) async fn serve(
    socket: &PacedSocket,
    console: &Console,
    closing: &Watched<Closing>,
) -> io::Result<()> {
    let output = pin!(send_output(socket, console, closing));
    let input = pin!(take_input(socket, console, closing));
    first(output, input).await
}

async fn send_output(
    socket: &PacedSocket,
    console: &Console,
    closing: &Watched<Closing>,
) -> io::Result<()> {
    let mut sent = None;
    loop {
        // Before the look, so that nothing is missed between them.
        let more = console.more();
        let (bytes, begin) = console.since(sent.unwrap_or(0), PIECE_BYTES);
        if bytes.is_empty() {
            let is_closed = closing.look(|it| !matches!(it, Closing::Open));
            if is_closed || console.has_ended() {
                return Ok(());
            }
            race(more, closed(closing)).await;
            continue;
        }
        if let Some(lost) = sent.map(|sent| begin - sent).filter(|&lost| lost > 0) {
            // The client is slower than the ring is large.
            let notice = format!("\r\n[qemu-machine: {lost} bytes were lost here]\r\n");
            socket.write_all(notice.as_bytes()).await?;
        }
        socket.write_all(&bytes).await?;
        sent = Some(begin + bytes.len() as u64);
        engine::yield_now().await;
    }
}

async fn take_input(
    socket: &PacedSocket,
    console: &Console,
    closing: &Watched<Closing>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let count = socket.read(&mut buffer).await?;
        if count == 0 {
            // It types nothing more, but may still read.
            socket.hung_up().await;
            return Ok(());
        }
        loop {
            let typed = console.send(&buffer[..count]).timeout(None);
            match while_there(socket, closing, typed.into_future()).await {
                Some(Ok(())) => break,
                // The guest does not read: the client waits.
                Some(Err(SendError::Congested { .. })) => {
                    while_there(socket, closing, console.flushed()).await;
                }
                None if closing.look(|it| matches!(it, Closing::Open)) => return Ok(()),
                // The output ends it, after the rest.
                Some(Err(_)) | None => return pending().await,
            }
        }
        engine::yield_now().await;
    }
}
