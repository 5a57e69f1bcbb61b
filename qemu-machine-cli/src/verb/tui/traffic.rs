//! Where messages come from: a connection, or a transcript.

use std::path::Path;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Instant;

use qemu_machine::Wait;
use qemu_machine::error::EventError;
use qemu_machine::qmp::Client;
use qemu_machine::qmp::client::Direction;

use super::Input;
use super::entry::{Entry, Reader};
use super::model::{Message, Model};
use crate::failure::Failure;
use crate::verb::replay;

/// The server, with its version if it has said it.
pub(super) fn name(monitor: &Client) -> String {
    let version = monitor.greeting().and_then(|it| it.version.as_ref());
    match version {
        Some(version) => format!("{} | QEMU {version}", monitor.server()),
        None => monitor.server(),
    }
}

/// Sends all messages of the connection from now on.
pub(super) fn watch(monitor: &Client, sender: SyncSender<Input>) {
    let mut tap = monitor.tap();
    let begun = Instant::now();
    thread::spawn(move || {
        let mut reader = Reader::default();
        loop {
            let next = tap.next().timeout(None).wait();
            let seconds = begun.elapsed().as_secs_f64();
            let message = match next {
                Ok(message) => {
                    let line = String::from_utf8_lossy(message.line());
                    let line = line.trim_end().to_owned();
                    let is_sent = message.direction() == Direction::Sent;
                    Message::Traffic(reader.read(seconds, is_sent, line))
                }
                Err(EventError::Lagged { missed, .. }) => {
                    let text = format!("{missed} messages are missing: they came too fast");
                    Message::Traffic(Entry::note(seconds, &text))
                }
                Err(error) => {
                    let _ = sender.send(Input::Message(Message::Ended(error.to_string())));
                    return;
                }
            };
            if sender.send(Input::Message(message)).is_err() {
                return;
            }
        }
    });
}

/// A model of the messages in a transcript.
pub(super) fn replayed(path: &Path, keep: usize) -> Result<Model, Failure> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| Failure::file("read", path, &error))?;
    let mut model = Model::new(path.display().to_string(), false, keep);
    let mut reader = Reader::default();
    for (number, line) in text.lines().enumerate() {
        let entry = replay::Entry::read(line).ok_or_else(|| {
            let (path, number) = (path.display(), number + 1);
            Failure::failed(format!("{path}:{number}: this is no line of a transcript"))
        })?;
        let is_sent = entry.direction == replay::Direction::Sent;
        let entry = reader.read(entry.seconds, is_sent, entry.text);
        model.update(Message::Traffic(entry));
    }
    Ok(model)
}
