//! `type`, `key` and `mouse`: input for a QEMU that runs.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use qemu_machine::input::{Button, InputAction, KeyboardLayout};
use qemu_machine::{Keyboard, Mouse, Wait};

use super::key_names;
use super::qmp::{Server, failed};
use crate::exit::Outcome;
use crate::failure::Failure;
use crate::{duration, escapes};

/// Types a text on a QEMU's keyboard.
///
/// It ends when the guest has read the keys, or, if that cannot be seen, when
/// QEMU has sent them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qemu-machine type qmp.sock 'root\\n'
  qemu-machine type qmp.sock --layout german 'grüße@example.org\\n'")]
pub(crate) struct Type {
    #[command(flatten)]
    server: Server,

    /// The text, with escapes such as \n
    #[arg(value_parser = text, allow_hyphen_values = true)]
    text: String,

    #[command(flatten)]
    keys: Keys,
}

/// Presses keys on a QEMU's keyboard, one after the other.
///
/// A key has QEMU's name (QKeyCode): ret, esc, f12, up, a. Names joined with -
/// are pressed together.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qemu-machine key qmp.sock ctrl-alt-delete
  qemu-machine key qmp.sock down down ret
  qemu-machine key qmp.sock --hold 2s esc")]
pub(crate) struct Key {
    #[command(flatten)]
    server: Server,

    /// The keys, in order
    #[arg(required = true)]
    keys: Vec<String>,

    /// How long each is held; 100ms by default
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    hold: Option<Duration>,
}

/// Moves a QEMU's mouse, or clicks.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qemu-machine mouse qmp.sock move 0.5 0.5
  qemu-machine mouse qmp.sock move --by 10 -4
  qemu-machine mouse qmp.sock click right")]
pub(crate) struct MoveMouse {
    #[command(flatten)]
    server: Server,

    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Moves to a place: 0 is left or up, 1 is right or down. The machine needs a
    /// tablet: run it with -- -device virtio-tablet-pci
    Move {
        #[arg(allow_negative_numbers = true, value_parser = finite)]
        x: f64,
        #[arg(allow_negative_numbers = true, value_parser = finite)]
        y: f64,
        /// Moves by a distance instead, in steps of the mouse
        #[arg(long)]
        by: bool,
    },
    /// Presses a button and releases it
    Click {
        #[arg(value_enum, default_value = "left")]
        button: WhichButton,
        /// How often
        #[arg(long, default_value = "1")]
        times: u32,
    },
}

#[derive(Debug, Args)]
struct Keys {
    /// The keyboard layout that the guest is set to
    #[arg(long, value_enum, default_value = "us")]
    layout: Layout,

    /// The time from one key to the next; 20ms by default
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pace: Option<Duration>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Layout {
    Us,
    German,
    French,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WhichButton {
    Left,
    Middle,
    Right,
    WheelUp,
    WheelDown,
}

/// A place or a distance.
fn finite(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|it: &f64| it.is_finite());
    number.ok_or_else(|| format!("'{text}' is no number"))
}

fn text(text: &str) -> Result<String, String> {
    let bytes = escapes::parse(text)?;
    String::from_utf8(bytes).map_err(|_| "the text is not UTF-8".to_owned())
}

impl Type {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let Keys { layout, pace } = self.keys;
        let layout = match layout {
            Layout::Us => KeyboardLayout::Us,
            Layout::German => KeyboardLayout::German,
            Layout::French => KeyboardLayout::French,
        };
        let keyboard = keyboard(&self.server)?.layout(layout);
        let mut action = keyboard.type_text(&self.text);
        if let Some(pace) = pace {
            action = action.pace(pace);
        }
        // A long text needs more time.
        let length = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        let each = pace.unwrap_or_default().max(SLOW_KEY);
        perform(
            action,
            self.server
                .timeout
                .saturating_add(each.saturating_mul(length)),
        )
    }
}

impl Key {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let monitor = self.server.connect()?;
        key_names::check(&monitor, &self.keys, self.server.timeout)?;
        let keyboard = Keyboard::of(&monitor).map_err(Failure::failed)?;
        for key in &self.keys {
            let mut action = keyboard.press(key);
            if let Some(time) = self.hold {
                action = action.hold(time);
            }
            let held = self.hold.unwrap_or_default();
            perform(action, self.server.timeout.saturating_add(held))?;
        }
        Ok(Outcome::Succeeded)
    }
}

impl MoveMouse {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let mouse = Mouse::of(&self.server.connect()?).map_err(Failure::failed)?;
        let time = self.server.timeout;
        match self.task {
            Task::Move { x, y, by: false } => perform(mouse.move_to(x, y), time),
            Task::Move { x, y, by: true } => perform(mouse.move_by(step(x)?, step(y)?), time),
            Task::Click { button, times } => {
                let button = match button {
                    WhichButton::Left => Button::Left,
                    WhichButton::Middle => Button::Middle,
                    WhichButton::Right => Button::Right,
                    WhichButton::WheelUp => Button::WheelUp,
                    WhichButton::WheelDown => Button::WheelDown,
                };
                for _ in 0..times {
                    perform(mouse.click(button), time)?;
                }
                Ok(Outcome::Succeeded)
            }
        }
    }
}

fn keyboard(server: &Server) -> Result<Keyboard, Failure> {
    Keyboard::of(&server.connect()?).map_err(Failure::failed)
}

fn perform(action: InputAction, time: Duration) -> Result<Outcome, Failure> {
    action.timeout(time).wait().map_err(failed)?;
    Ok(Outcome::Succeeded)
}

/// How long a key may take to type.
const SLOW_KEY: Duration = Duration::from_millis(100);

/// A whole number of steps.
fn step(number: f64) -> Result<i32, Failure> {
    let text = number.to_string();
    let step = text.parse();
    step.map_err(|_| Failure::usage(format!("{text} is no number of steps")))
}
