//! The floor: a blocking unix socket, one write for each command, and lines.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Failure;

/// A connection with the same capabilities as the library's, because they change
/// how the server works.
pub(super) struct Bare {
    commands: Commands,
    replies: Replies,
}

/// The sending half.
pub(super) struct Commands {
    socket: UnixStream,
    command: Vec<u8>,
    next_id: u64,
}

/// The reading half.
pub(super) struct Replies {
    socket: BufReader<UnixStream>,
    line: Vec<u8>,
}

#[derive(Deserialize)]
pub(super) struct Reply<T> {
    #[serde(rename = "return")]
    pub(super) result: T,
    id: u64,
}

impl Bare {
    pub(super) fn connect(path: &Path) -> Result<Self, Failure> {
        let socket = UnixStream::connect(path)?;
        let mut bare = Self {
            commands: Commands {
                socket: socket.try_clone()?,
                command: Vec::new(),
                next_id: 0,
            },
            replies: Replies {
                socket: BufReader::with_capacity(64 << 10, socket),
                line: Vec::new(),
            },
        };
        bare.line()?;
        bare.send("qmp_capabilities", r#","arguments":{"enable":["oob"]}"#)?;
        bare.reply::<serde_json::Value>()?;
        Ok(bare)
    }

    /// For two threads.
    pub(super) fn into_halves(self) -> (Commands, Replies) {
        (self.commands, self.replies)
    }

    /// Sends a command; `arguments` is their text in the line.
    pub(super) fn send(&mut self, name: &str, arguments: &str) -> Result<(), Failure> {
        self.commands.send(name, arguments)
    }

    /// The return value of the oldest command in flight.
    pub(super) fn reply<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let (id, result) = self.replies.next()?;
        if id > self.commands.next_id {
            return Err("the server replied to a command that was not sent".into());
        }
        Ok(result)
    }

    pub(super) fn line(&mut self) -> Result<&[u8], Failure> {
        self.replies.line()
    }
}

impl Commands {
    pub(super) fn send(&mut self, name: &str, arguments: &str) -> Result<(), Failure> {
        self.next_id += 1;
        write_command(&mut self.command, name, arguments, self.next_id)?;
        self.socket.write_all(&self.command)?;
        Ok(())
    }
}

/// Writes a command's line over the one before.
pub(super) fn write_command(
    line: &mut Vec<u8>,
    name: &str,
    arguments: &str,
    id: u64,
) -> std::io::Result<()> {
    line.clear();
    writeln!(line, r#"{{"execute":"{name}"{arguments},"id":{id}}}"#)
}

impl Replies {
    /// The id of the reply, and its return value.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<(u64, T), Failure> {
        let reply: Reply<T> = serde_json::from_slice(self.line()?)?;
        Ok((reply.id, reply.result))
    }

    fn line(&mut self) -> Result<&[u8], Failure> {
        self.line.clear();
        if self.socket.read_until(b'\n', &mut self.line)? == 0 {
            return Err("the server has ended".into());
        }
        Ok(&self.line)
    }
}
