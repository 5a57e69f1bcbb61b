//! One channel to the peer. Opens it as the command line says, and reads lines
//! and texts, however they are cut.

use crate::command_line::{Address, Chardev, Role};
use crate::sys;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Weak};

/// A connected stream socket. Std's `UnixStream` also reads, writes and shuts
/// down a TCP socket.
pub(crate) type Socket = UnixStream;

/// The state of a chardev.
pub(crate) struct Channel {
    state: State,
    /// What was received and not yet asked for.
    unread: Vec<u8>,
}

enum State {
    Listening(Listener),
    Open(Arc<Socket>),
    Closed,
}

enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Channel {
    /// Connects or listens. With `wait=off`, a server waits for its peer at the first
    /// step that uses the channel.
    pub(crate) fn open(chardev: &Chardev) -> io::Result<Self> {
        let state = match chardev.role {
            Role::Client => State::Open(Arc::new(connect(&chardev.address)?)),
            Role::Server { .. } => State::Listening(listen(&chardev.address)?),
        };
        let mut channel = Self {
            state,
            unread: Vec::new(),
        };
        if chardev.role == (Role::Server { wait: true }) {
            channel.socket()?;
        }
        Ok(channel)
    }

    /// A weak reference to the socket, for a user that must not keep it open. It is
    /// dead if there is no connection.
    pub(crate) fn observer(&self) -> Weak<Socket> {
        match &self.state {
            State::Open(socket) => Arc::downgrade(socket),
            State::Listening(_) | State::Closed => Weak::new(),
        }
    }

    /// Lets programs that this one starts keep the channel open.
    pub(crate) fn make_inheritable(&self) -> io::Result<()> {
        match &self.state {
            State::Open(socket) => sys::make_inheritable(socket),
            State::Listening(Listener::Unix(listener)) => sys::make_inheritable(listener),
            State::Listening(Listener::Tcp(listener)) => sys::make_inheritable(listener),
            State::Closed => Ok(()),
        }
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket()?.write_all(bytes)
    }

    /// The next line without its newline; `None` at the end of the stream.
    pub(crate) fn read_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        if !self.receive(b"\n")? {
            return Ok(None);
        }
        let end = find(&self.unread, b"\n").unwrap_or_default();
        let line = self.unread.drain(..=end).take(end).collect();
        Ok(Some(line))
    }

    /// Reads up to the end of the text; `false` if the stream ends before it.
    pub(crate) fn read_until(&mut self, text: &[u8]) -> io::Result<bool> {
        let found = self.receive(text)?;
        if let Some(start) = find(&self.unread, text) {
            self.unread.drain(..start + text.len());
        }
        Ok(found)
    }

    /// Reads to the end of the stream, and discards it.
    pub(crate) fn read_to_end(&mut self) -> io::Result<()> {
        self.unread.clear();
        while self.receive_some()? > 0 {
            self.unread.clear();
        }
        Ok(())
    }

    /// What was received and not yet asked for.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.unread
    }

    pub(crate) fn shutdown_write(&mut self) -> io::Result<()> {
        self.socket()?.shutdown(Shutdown::Write)
    }

    pub(crate) fn close(&mut self) {
        self.state = State::Closed;
        self.unread.clear();
    }

    /// Receives until the unread bytes have the text; `false` if they never do.
    fn receive(&mut self, text: &[u8]) -> io::Result<bool> {
        let mut searched = 0;
        while find(&self.unread[searched..], text).is_none() {
            // The text may begin in the bytes that have already arrived.
            searched = self.unread.len().saturating_sub(text.len() - 1);
            if self.receive_some()? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn receive_some(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let mut socket = self.socket()?;
        loop {
            match socket.read(&mut piece) {
                Ok(count) => {
                    self.unread.extend_from_slice(&piece[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The peer closed with unread bytes. That also ends the
                // stream.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(0),
                Err(error) => return Err(error),
            }
        }
    }

    /// The connection. A listening channel waits for it.
    fn socket(&mut self) -> io::Result<&Socket> {
        if let State::Listening(listener) = &self.state {
            let socket = match listener {
                Listener::Unix(listener) => listener.accept()?.0,
                Listener::Tcp(listener) => OwnedFd::from(listener.accept()?.0).into(),
            };
            self.state = State::Open(Arc::new(socket));
        }
        match &self.state {
            State::Open(socket) => Ok(socket),
            _ => Err(io::Error::new(
                io::ErrorKind::NotConnected,
                "the script has closed the channel",
            )),
        }
    }
}

fn connect(address: &Address) -> io::Result<Socket> {
    match address {
        Address::Descriptor(descriptor) => sys::adopt(*descriptor).map(Socket::from),
        Address::Path(path) => Socket::connect(path),
        Address::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port))?;
            stream.set_nodelay(true)?;
            Ok(OwnedFd::from(stream).into())
        }
    }
}

fn listen(address: &Address) -> io::Result<Listener> {
    match address {
        Address::Descriptor(descriptor) => Ok(Listener::Unix(sys::adopt(*descriptor)?.into())),
        Address::Path(path) => {
            // Like QEMU, this replaces a socket that is left there.
            if let Err(error) = std::fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                return Err(error);
            }
            UnixListener::bind(path).map(Listener::Unix)
        }
        Address::Tcp { host, port } => TcpListener::bind((host.as_str(), *port)).map(Listener::Tcp),
    }
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Channel, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (
            Channel {
                state: State::Open(Arc::new(ours)),
                unread: Vec::new(),
            },
            theirs,
        )
    }

    #[test]
    fn lines_of_one_read_come_one_by_one() {
        let (mut channel, mut peer) = pair();
        peer.write_all(b"one\n\ntwo\nthr").unwrap();
        drop(peer);
        for line in [&b"one"[..], b"", b"two"] {
            assert_eq!(channel.read_line().unwrap().unwrap(), line);
        }
        assert_eq!(channel.read_line().unwrap(), None);
        assert_eq!(channel.unread(), b"thr");
    }

    #[test]
    fn a_line_may_come_byte_by_byte() {
        let (mut channel, mut peer) = pair();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for byte in b"a line\nnext" {
                    peer.write_all(&[*byte]).unwrap();
                }
            });
            assert_eq!(channel.read_line().unwrap().unwrap(), b"a line");
        });
    }

    #[test]
    fn a_text_is_found_across_every_split() {
        let (stream, text) = (b"aabaabaac rest", b"aabaac");
        for split in 0..stream.len() {
            let (mut channel, mut peer) = pair();
            peer.write_all(&stream[..split]).unwrap();
            if split > 0 {
                channel.receive_some().unwrap();
            }
            peer.write_all(&stream[split..]).unwrap();
            assert!(channel.read_until(text).unwrap());
            assert!(channel.read_until(b" rest").unwrap());
            drop(peer);
            assert!(!channel.read_until(b"x").unwrap());
        }
    }

    #[test]
    fn a_peer_that_left_something_unread_has_ended() {
        let (mut channel, peer) = pair();
        channel.write_all(b"unread").unwrap();
        drop(peer);
        channel.read_to_end().unwrap();
    }
}
