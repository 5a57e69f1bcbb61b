//! Pictures of a display, as files: PNG if the name ends so, and PPM otherwise.

use std::fs;
use std::path::Path;

use clap::Args;
use qemu_machine::Display;
use qemu_machine::display::Screenshot;
use qemu_machine::error::DisplayError;
use qemu_machine::qmp::Client;

use crate::failure::Failure;

/// Which display, if there are several.
#[derive(Debug, Args)]
pub(super) struct Head {
    /// Which device shows it, by its id
    #[arg(long)]
    device: Option<String>,

    /// Which head of the device
    #[arg(long, value_name = "NUMBER", requires = "device", default_value = "0")]
    head: u32,
}

impl Head {
    pub(super) fn display(&self, monitor: &Client) -> Result<Display, Failure> {
        let display = Display::of(monitor).map_err(Failure::failed)?;
        Ok(match &self.device {
            Some(device) => display.head(device, self.head),
            None => display,
        })
    }
}

/// Why there is no picture, with advice for a command line.
pub(super) fn failed(error: DisplayError) -> Failure {
    match error {
        DisplayError::NoDisplay { machine } => Failure::failed(format!(
            "{machine}: cannot take a picture of its screen: it has no display; run it with one: \
             `qemu-machine run … -- -device VGA`"
        )),
        error => super::qmp::failed(error),
    }
}

/// Reads a picture, whatever the file's name is.
pub(super) fn read(path: &Path) -> Result<Screenshot, Failure> {
    let unreadable = |error| Failure::file("read", path, &error);
    let bytes = fs::read(path).map_err(unreadable)?;
    let picture = if bytes.starts_with(b"P6") {
        Screenshot::from_ppm(bytes)
    } else {
        Screenshot::from_png(&bytes)
    };
    picture.map_err(unreadable)
}

pub(super) fn write(picture: &Screenshot, path: &Path) -> Result<(), Failure> {
    let extension = path.extension();
    let bytes = if extension.is_some_and(|it| it.eq_ignore_ascii_case("png")) {
        picture.to_png()
    } else {
        picture.to_ppm()
    };
    fs::write(path, bytes).map_err(|error| Failure::file("write", path, &error))
}
