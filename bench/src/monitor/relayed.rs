//! The floor with a thread that reads each reply and hands it to the waiting
//! task, because a task must not block.

use std::path::Path;
use std::thread;

use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::bare::{Bare, Commands};
use crate::Failure;

/// The thread ends with the server.
pub(super) struct Relayed<T> {
    commands: Commands,
    replies: UnboundedReceiver<Result<T, String>>,
}

impl<T: DeserializeOwned + Send + 'static> Relayed<T> {
    pub(super) fn connect(path: &Path) -> Result<Self, Failure> {
        let (commands, mut read) = Bare::connect(path)?.into_halves();
        #[expect(
            clippy::disallowed_methods,
            reason = "the only waker here is the bench's own"
        )]
        let (told, replies) = unbounded_channel();
        thread::spawn(move || {
            loop {
                let reply = read.next().map(|(_, result)| result);
                let is_last = reply.is_err();
                let reply = reply.map_err(|error| error.to_string());
                if told.send(reply).is_err() || is_last {
                    return;
                }
            }
        });
        Ok(Self { commands, replies })
    }

    pub(super) async fn ask(&mut self, name: &str) -> Result<T, Failure> {
        self.commands.send(name, "")?;
        let reply = self.replies.recv().await;
        Ok(reply.ok_or("the thread has ended")??)
    }
}
