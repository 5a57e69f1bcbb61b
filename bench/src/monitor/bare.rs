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
    socket: BufReader<UnixStream>,
    command: Vec<u8>,
    line: Vec<u8>,
    next_id: u64,
}

#[derive(Deserialize)]
struct Reply<T> {
    #[serde(rename = "return")]
    result: T,
    id: u64,
}

impl Bare {
    pub(super) fn connect(path: &Path) -> Result<Self, Failure> {
        let mut bare = Self {
            socket: BufReader::with_capacity(64 << 10, UnixStream::connect(path)?),
            command: Vec::new(),
            line: Vec::new(),
            next_id: 0,
        };
        bare.line()?;
        bare.send("qmp_capabilities", r#","arguments":{"enable":["oob"]}"#)?;
        bare.reply::<serde_json::Value>()?;
        Ok(bare)
    }

    /// Sends a command; `arguments` is what stands in the line for them.
    pub(super) fn send(&mut self, name: &str, arguments: &str) -> Result<(), Failure> {
        self.next_id += 1;
        self.command.clear();
        let id = self.next_id;
        writeln!(
            self.command,
            r#"{{"execute":"{name}"{arguments},"id":{id}}}"#
        )?;
        self.socket.get_mut().write_all(&self.command)?;
        Ok(())
    }

    /// For another who sends, while this one only reads: the socket, and the id
    /// of the first command.
    pub(super) fn writer(&mut self) -> Result<(UnixStream, u64), Failure> {
        let first_id = std::mem::replace(&mut self.next_id, u64::MAX) + 1;
        Ok((self.socket.get_ref().try_clone()?, first_id))
    }

    /// The return value of the oldest command that waits for one.
    pub(super) fn reply<T: DeserializeOwned>(&mut self) -> Result<T, Failure> {
        let reply: Reply<T> = serde_json::from_slice(self.line()?)?;
        if reply.id > self.next_id {
            return Err("a reply to what was not sent".into());
        }
        Ok(reply.result)
    }

    pub(super) fn line(&mut self) -> Result<&[u8], Failure> {
        self.line.clear();
        if self.socket.read_until(b'\n', &mut self.line)? == 0 {
            return Err("the server has ended".into());
        }
        Ok(&self.line)
    }
}
