//! The floor: a blocking unix socket, a write for each command, and lines.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Failure;

/// A connection on which capabilities were negotiated as the library does it,
/// for the server works otherwise without.
pub(super) struct Bare {
    commands: Commands,
    replies: Replies,
}

/// The half that sends.
pub(super) struct Commands {
    socket: UnixStream,
    command: Vec<u8>,
    next_id: u64,
}

/// The half that reads.
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

    /// Sends a command; `arguments` is what stands in the line for them.
    pub(super) fn send(&mut self, name: &str, arguments: &str) -> Result<(), Failure> {
        self.commands.send(name, arguments)
    }

    /// The return value of the oldest command that waits for one.
    pub(super) fn reply<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let (id, result) = self.replies.next()?;
        if id > self.commands.next_id {
            return Err("a reply to what was not sent".into());
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

/// A command's line, in the place of the one before.
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
    /// The id of the next, and what was returned.
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
