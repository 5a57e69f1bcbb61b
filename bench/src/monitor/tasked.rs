//! The floor in which the waiting task itself reads, by its runtime's reactor.

use std::path::Path;

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use super::bare::{Reply, write_command};
use crate::Failure;

pub(super) struct Tasked {
    socket: BufReader<UnixStream>,
    command: Vec<u8>,
    line: Vec<u8>,
    next_id: u64,
}

impl Tasked {
    pub(super) async fn connect(path: &Path) -> Result<Self, Failure> {
        let socket = UnixStream::connect(path).await?;
        let mut tasked = Self {
            socket: BufReader::with_capacity(64 << 10, socket),
            command: Vec::new(),
            line: Vec::new(),
            next_id: 0,
        };
        tasked.line().await?;
        tasked
            .ask::<serde_json::Value>("qmp_capabilities", r#","arguments":{"enable":["oob"]}"#)
            .await?;
        Ok(tasked)
    }

    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        name: &str,
        arguments: &str,
    ) -> Result<T, Failure> {
        self.next_id += 1;
        write_command(&mut self.command, name, arguments, self.next_id)?;
        self.socket.get_mut().write_all(&self.command).await?;
        let reply: Reply<T> = serde_json::from_slice(self.line().await?)?;
        Ok(reply.result)
    }

    async fn line(&mut self) -> Result<&[u8], Failure> {
        self.line.clear();
        if self.socket.read_until(b'\n', &mut self.line).await? == 0 {
            return Err("the server has ended".into());
        }
        Ok(&self.line)
    }
}
