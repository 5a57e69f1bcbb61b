//! `wait-screen`: waits for what a QEMU shows.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use qemu_machine::Wait;
use qemu_machine::display::Tolerance;

use super::picture::{self, Head};
use super::qmp::Server;
use crate::duration;
use crate::exit::Outcome;
use crate::failure::Failure;

/// Waits until a QEMU's display shows a picture, stands still, or changes.
///
/// It fails with status 124 if that does not happen within --timeout.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  qemu-machine wait-screen qmp.sock --still 2s --save menu.png
  qemu-machine wait-screen qmp.sock --picture menu.png --share 0.01
  qemu-machine wait-screen qmp.sock --change --timeout 5m")]
pub(crate) struct WaitScreen {
    #[command(flatten)]
    server: Server,

    #[command(flatten)]
    goal: Goal,

    /// How many pixels may differ: 0.01 is one in a hundred. By default none for
    /// --picture, and otherwise one in a thousand, which a cursor needs
    #[arg(long, value_name = "SHARE", value_parser = share)]
    share: Option<f64>,

    /// How far each of red, green and blue may differ, of 255
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    channel: u8,

    /// The time between two looks; 100ms by default
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pace: Option<Duration>,

    /// Writes the picture that ended the wait to this file
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,

    #[command(flatten)]
    head: Head,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Goal {
    /// Waits until it looks like this picture, a PNG or PPM
    #[arg(long, value_name = "FILE")]
    picture: Option<PathBuf>,

    /// Waits until it has not changed for this time
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    still: Option<Duration>,

    /// Waits until it changes
    #[arg(long)]
    change: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|it| (0.0..=1.0).contains(it));
    share.ok_or_else(|| format!("'{text}' is no number from 0 to 1"))
}

impl WaitScreen {
    pub(crate) fn run(self) -> Result<Outcome, Failure> {
        let picture = self.goal.picture.as_deref().map(picture::read);
        let picture = picture.transpose()?;
        let display = self.head.display(&self.server.connect()?)?;
        let (mut watch, share) = match (picture, self.goal.still) {
            (Some(picture), _) => (display.expect(picture), 0.0),
            (None, Some(time)) => (display.still(time), CURSOR),
            (None, None) => (display.change(), CURSOR),
        };
        if let Some(pace) = self.pace {
            watch = watch.pace(pace);
        }
        let watch = watch.tolerance(Tolerance {
            channel: self.channel,
            share: self.share.unwrap_or(share),
        });
        let shown = watch.timeout(self.server.timeout).wait();
        let shown = shown.map_err(picture::failed)?;
        if let Some(path) = &self.save {
            picture::write(&shown, path)?;
        }
        Ok(Outcome::Succeeded)
    }
}

/// The share of the pixels that the cursor of a text screen has, as the library
/// has it by default.
const CURSOR: f64 = 0.001;
