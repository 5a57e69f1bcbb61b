//! The floor with a thread in between, which reads each reply and hands it to
//! who waits: what a task must have, for it must not be blocked itself.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde::de::DeserializeOwned;

use super::bare::Bare;
use crate::Failure;

/// It ends with its server.
pub(super) struct Relayed<T> {
    socket: UnixStream,
    command: Vec<u8>,
    next_id: u64,
    replies: Receiver<Result<T, String>>,
}

impl<T: DeserializeOwned + Send + 'static> Relayed<T> {
    pub(super) fn connect(path: &Path) -> Result<Self, Failure> {
        let mut bare = Bare::connect(path)?;
        let (socket, next_id) = bare.writer()?;
        let (told, replies) = channel();
        thread::spawn(move || {
            loop {
                let reply = bare.reply().map_err(|error| error.to_string());
                let is_last = reply.is_err();
                if told.send(reply).is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Self {
            socket,
            command: Vec::new(),
            next_id,
            replies,
        })
    }

    pub(super) fn ask(&mut self, name: &str) -> Result<T, Failure> {
        self.command.clear();
        let id = self.next_id;
        self.next_id += 1;
        writeln!(self.command, r#"{{"execute":"{name}","id":{id}}}"#)?;
        self.socket.write_all(&self.command)?;
        Ok(self.replies.recv()??)
    }
}
