//! A connected socket that is read and written only when its user asks for it: for
//! a server, which must be able to let a client wait.
//!
//! Never reads more than its user wants, so the kernel's buffer slows the peer.

use std::io::{self, Read};
use std::net::Shutdown;
use std::sync::Arc;

use socket2::Socket;

use crate::watch::{SharedWatch, watch_both};

/// A connected stream socket. Use it on the engine.
#[derive(Debug)]
pub struct PacedSocket(SharedWatch);

impl PacedSocket {
    /// Uses a connected socket. Call it on the engine.
    ///
    /// # Errors
    /// The socket cannot be made non-blocking, or cannot be watched.
    pub fn new(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        watch_both(Arc::new(socket)).map(Self)
    }

    /// Waits for data, and reads up to the buffer's length of it. Returns 0 at the
    /// end of the stream.
    ///
    /// # Errors
    /// The connection broke.
    ///
    /// # Cancel safety
    /// No data is lost if the future is dropped.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|socket| (&**socket.get_ref()).read(buffer)) {
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(outcome) => return outcome,
                Err(_would_block) => {}
            }
        }
    }

    /// Sends what the kernel accepts now, and returns how many bytes that are.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn write_now(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.get_ref().send_with_flags(bytes, libc::MSG_NOSIGNAL) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                sent => return sent,
            }
        }
    }

    /// Waits until the kernel accepts data, and returns how many bytes it accepted.
    ///
    /// # Errors
    /// The connection broke, or the peer has closed it.
    ///
    /// # Cancel safety
    /// If the future is dropped, nothing was sent.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            // Before the wait, because `hung_up` clears what the watch knows. The
            // kernel reports room again only after the socket was full.
            let sent = self.write_now(bytes)?;
            if sent > 0 || bytes.is_empty() {
                return Ok(sent);
            }
            let mut ready = self.0.writable().await?;
            let again = |_: &_| match self.write_now(bytes) {
                Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
                sent => sent,
            };
            if let Ok(outcome) = ready.try_io(again) {
                return outcome;
            }
        }
    }

    /// Sends all bytes, in turns with other tasks.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = self.write(bytes).await?;
            bytes = &bytes[sent..];
            if !bytes.is_empty() {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Waits until the peer has closed both directions. The end of what it sends is
    /// not enough.
    pub async fn hung_up(&self) {
        loop {
            match self.0.writable().await {
                Ok(ready) if ready.ready().is_write_closed() => return,
                Ok(mut ready) => ready.clear_ready(),
                Err(_) => return,
            }
        }
    }

    /// Ends the connection in both directions.
    pub fn shutdown(&self) {
        // It fails only if the connection has ended already.
        let _ = self.0.get_ref().shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc;

    use socket2::{Domain, Type};

    use super::*;
    use crate::Engine;

    #[test]
    fn what_is_not_asked_for_stays_with_the_peer_and_a_half_close_is_no_hang_up() {
        let (ours, mut theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        let (told, tell) = mpsc::channel();
        let (go, goes) = crate::oneshot::channel();
        Engine::start().unwrap().spawn(async move {
            let socket = PacedSocket::new(ours).unwrap();
            let mut buffer = [0; 2];
            let count = socket.read(&mut buffer).await.unwrap();
            told.send(buffer[..count].to_vec()).unwrap();
            goes.await.unwrap();
            let rest = socket.read(&mut buffer).await.unwrap();
            told.send(buffer[..rest].to_vec()).unwrap();
            assert_eq!(socket.read(&mut buffer).await.unwrap(), 0);
            // The peer still reads.
            socket.write_all(b"answer").await.unwrap();
            socket.hung_up().await;
            assert!(socket.write(b"x").await.is_err());
            told.send(b"hung up".to_vec()).unwrap();
        });
        theirs.write_all(b"abc").unwrap();
        assert_eq!(tell.recv().unwrap(), b"ab");
        go.send(()).unwrap();
        assert_eq!(tell.recv().unwrap(), b"c");
        theirs.shutdown(Shutdown::Write).unwrap();
        let mut answer = [0; 6];
        theirs.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
        assert!(tell.try_recv().is_err());
        drop(theirs);
        assert_eq!(tell.recv().unwrap(), b"hung up");
    }
}
