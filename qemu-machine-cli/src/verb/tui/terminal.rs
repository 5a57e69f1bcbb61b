//! The terminal: taken, drawn on, and given back in every case.

use std::io::{self, IsTerminal};
use std::sync::mpsc::SyncSender;
use std::thread;

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};

use super::Input;
use super::model::{Message, Model};
use super::view::view;
use crate::exit::Outcome;
use crate::failure::Failure;

/// Fails where there is no terminal.
pub(super) fn check() -> Result<(), Failure> {
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        return Ok(());
    }
    Err(Failure::usage(
        "tui needs a terminal: standard input or output is none; 'events' and 'qmp' work without",
    ))
}

/// The whole screen. A drop gives the terminal back, and a panic does so before
/// its message is printed.
pub(super) struct Screen {
    terminal: DefaultTerminal,
    has_colour: bool,
}

impl Screen {
    pub(super) fn take() -> Result<Self, Failure> {
        let terminal = ratatui::try_init().map_err(|error| {
            // It may have been taken in part.
            let _ = ratatui::try_restore();
            unusable(&error)
        })?;
        let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Ok(Self {
            terminal,
            has_colour: !is_off,
        })
    }

    pub(super) fn size(&self) -> Result<(u16, u16), Failure> {
        let size = self.terminal.size().map_err(|error| unusable(&error))?;
        Ok((size.width, size.height))
    }

    pub(super) fn draw(&mut self, model: &Model) -> Result<(), Failure> {
        let drawn = self
            .terminal
            .draw(|frame| view(model, self.has_colour, frame));
        drawn.map(|_| ()).map_err(|error| unusable(&error))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.terminal.show_cursor();
        // It may be gone.
        let _ = ratatui::try_restore();
    }
}

fn unusable(error: &io::Error) -> Failure {
    Failure::new(
        Outcome::Broken,
        format!("the terminal cannot be used: {error}"),
    )
}

/// The terminal is gone.
pub(super) fn lost() -> Failure {
    Failure::new(Outcome::Broken, "the terminal cannot be read any more")
}

/// Sends keys and changes of the size.
pub(super) fn watch_keys(sender: SyncSender<Input>) {
    thread::spawn(move || {
        loop {
            let input = match event::read() {
                Ok(Event::Key(key)) if key.kind != KeyEventKind::Release => {
                    Input::Message(Message::Key(key))
                }
                Ok(Event::Resize(width, height)) => Input::Message(Message::Size(width, height)),
                Ok(_) => continue,
                Err(_) => Input::NoTerminal,
            };
            let is_over = matches!(input, Input::NoTerminal);
            if sender.send(input).is_err() || is_over {
                return;
            }
        }
    });
}
