//! `tui`: the traffic of a monitor on the whole screen.
//!
//! Decisions are in `model` and `keys`, and drawing is in `view`: all pure. Here
//! are the threads that bring messages, and the terminal.

mod entry;
mod filter;
mod keys;
mod layout;
mod log;
mod model;
mod prompt;
mod terminal;
#[cfg(test)]
mod tests;
mod traffic;
mod view;
mod words;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use clap::Args;
use qemu_machine::Wait;
use qemu_machine::qmp::Client;
use serde_json::Value;

use super::qmp::Server;
use crate::address::Address;
use crate::attention::{Attention, Call};
use crate::duration;
use crate::exit::Outcome;
use crate::failure::Failure;
use model::{Effect, Message, Model};
use terminal::Screen;

/// Shows the traffic of a monitor on the whole screen: messages and events.
///
/// It shows all that this connection sends and receives. Press ? for its keys.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Tui {
    /// A machine's name, the server's unix socket, or HOST:PORT
    #[arg(required_unless_present = "replay")]
    address: Option<Address>,

    /// Shows a transcript instead (run --transcript)
    #[arg(long, value_name = "TRANSCRIPT", conflicts_with = "address")]
    replay: Option<PathBuf>,

    /// How many messages to keep; the oldest go
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    keep: usize,

    /// How long the connecting, and then each answer, may take
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "30s")]
    timeout: Duration,
}

const EXAMPLES: &str = "\
Examples:
  qemu-machine tui qmp.sock
  qemu-machine tui --replay qmp.jsonl";

/// Something for the loop.
enum Input {
    Message(Message),
    Signal(i32),
    /// The terminal cannot be read any more.
    NoTerminal,
}

impl Tui {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        terminal::check()?;
        // Before any other thread, so that no signal is missed.
        let attention = Attention::to_signals()
            .map_err(|error| Failure::new(Outcome::Broken, format!("no signals: {error}")))?;
        let (sender, inputs) = sync_channel(INPUTS);
        let (model, monitor) = match (self.replay, self.address) {
            (Some(path), _) => (traffic::replayed(&path, self.keep)?, None),
            (None, Some(address)) => {
                let monitor = Server::new(address, self.timeout).connect()?;
                let model = Model::new(traffic::name(&monitor), true, self.keep);
                traffic::watch(&monitor, sender.clone());
                (model, Some(monitor))
            }
            (None, None) => return Err(Failure::usage("an address is needed")),
        };
        watch_signals(attention, sender.clone());
        let screen = Screen::take()?;
        terminal::watch_keys(sender.clone());
        let outside = Outside {
            monitor,
            timeout: self.timeout,
            sender,
        };
        show(model, screen, &inputs, &outside)
    }
}

/// More than this waits in the queue of the connection.
const INPUTS: usize = 1000;

/// Draws whenever something happened, until the person quits.
fn show(
    mut model: Model,
    mut screen: Screen,
    inputs: &Receiver<Input>,
    outside: &Outside,
) -> Result<Outcome, Failure> {
    let (width, height) = screen.size()?;
    model.update(Message::Size(width, height));
    loop {
        screen.draw(&model)?;
        let Ok(first) = inputs.recv() else {
            return Ok(Outcome::Succeeded);
        };
        // A flood is drawn in few frames.
        for input in std::iter::once(first).chain(inputs.try_iter().take(INPUTS)) {
            let message = match input {
                Input::Message(message) => message,
                Input::Signal(number) => return Ok(Outcome::Signal(number)),
                Input::NoTerminal => return Err(terminal::lost()),
            };
            match model.update(message) {
                Some(Effect::Quit) => return Ok(Outcome::Succeeded),
                Some(effect) => outside.act(effect),
                None => {}
            }
        }
    }
}

fn watch_signals(attention: Attention, sender: SyncSender<Input>) {
    thread::spawn(move || {
        while let Err(call) = attention.wait(std::future::pending::<()>()) {
            if let Call::Signal(number) = call
                && sender.send(Input::Signal(number)).is_err()
            {
                return;
            }
        }
    });
}

/// What effects need.
struct Outside {
    monitor: Option<Client>,
    timeout: Duration,
    sender: SyncSender<Input>,
}

impl Outside {
    /// Does it in a thread, which reports the result as a message.
    fn act(&self, effect: Effect) {
        let (monitor, timeout) = (self.monitor.clone(), self.timeout);
        let sender = self.sender.clone();
        thread::spawn(move || {
            let result = match effect {
                Effect::Quit => return,
                Effect::Save(path, text) => save(&path, &text),
                Effect::Execute(command, arguments) => match monitor {
                    Some(monitor) => execute(&monitor, &command, arguments, timeout),
                    None => return,
                },
            };
            let _ = sender.send(Input::Message(Message::Result(result)));
        });
    }
}

fn save(path: &Path, text: &str) -> Result<String, String> {
    let shown = path.display();
    match fs::write(path, text) {
        Ok(()) => Ok(format!("saved to {shown}")),
        Err(error) => Err(format!("cannot write {shown}: {error}")),
    }
}

/// The answer is among the traffic.
fn execute(
    monitor: &Client,
    command: &str,
    arguments: Value,
    timeout: Duration,
) -> Result<String, String> {
    let executed = monitor.execute_json(command, arguments);
    match executed.timeout(timeout).wait() {
        Ok(_) => Ok(format!("{command} is done")),
        // One line: an error may go on with what was seen of the server.
        Err(error) => Err(error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()),
    }
}
